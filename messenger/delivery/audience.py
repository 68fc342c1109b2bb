"""How the heads of a big chat reach members who are not looking at it."""

from enum import Enum


class Audience(Enum):
    """The value is the mark before the head on `dirty:<chat>`."""

    USUAL = b""
    PACED = b"p "
    """So many that they are told in slots: all of them fetching at once would be a flood."""
    URGENT = b"u "
    """A verified channel: at once, and before the others."""
