"""Who may do what on a topic: the configured namespaces and the decisions of the protocol.

Pure: the caller verifies tokens and memberships, and turns a verdict into a reply. None = yes.
"""

from enum import Enum

from msgspec import Struct

from messenger.settings import NamespaceOptions, TopicsSection
from messenger.wire.codes import ErrorCode

_PRIVATE = "$"
_BOUNDARY = ":"
_USERS = "#"


class Standing(Enum):
    """How a session stands to a topic."""

    SUBSCRIBER = "listens to it, with a user"
    ANONYMOUS_SUBSCRIBER = "listens to it, without a user"
    CLIENT = "has a user"
    ANONYMOUS = "has none"

    @classmethod
    def of(cls, user: str, *, subscribed: bool) -> "Standing":
        if subscribed:
            return cls.SUBSCRIBER if user else cls.ANONYMOUS_SUBSCRIBER
        return cls.CLIENT if user else cls.ANONYMOUS


class SubscribeBy(Struct, frozen=True):
    """Who asks to subscribe."""

    standing: Standing
    account: str = ""
    """Of a product token, else "": only these get product topics."""
    token: bool = False
    """A subscription token for this user and topic was verified."""


class Namespaces:
    """The options of every configured topic."""

    def __init__(self, topics: TopicsSection) -> None:
        self._default = topics.default
        self._named = dict(topics.ns)

    def of(self, topic: str) -> NamespaceOptions | None:
        """None = error 102. A leading `$` belongs to the topic, not to its namespace's name."""
        name, boundary, _ = topic.removeprefix(_PRIVATE).partition(_BOUNDARY)
        return self._named.get(name) if boundary else self._default

    def may_subscribe(
        self, topic: str, options: NamespaceOptions, *, user: str, by: SubscribeBy, insecure: bool
    ) -> ErrorCode | None:
        """In the order of the protocol, but for product topics: no token of others opens them.

        `chat:<id>` is only allowed here as far as the session goes; membership is checked after.
        """
        if options.is_product:
            return _may_subscribe_product(topic, options, by)
        if by.token:
            return None
        if topic.startswith(_PRIVATE):
            return ErrorCode.PERMISSION_DENIED
        if options.allow_user_limited_channels and _USERS in topic:
            listed = topic.rpartition(_USERS)[2].split(",")
            return None if user and user in listed else ErrorCode.PERMISSION_DENIED
        if by.standing in (Standing.CLIENT, Standing.SUBSCRIBER):
            allowed = options.allow_subscribe_for_client
        else:
            allowed = options.allow_subscribe_for_anonymous
        return None if allowed or insecure else ErrorCode.PERMISSION_DENIED

    def may_publish(
        self, options: NamespaceOptions, *, standing: Standing, insecure: bool
    ) -> ErrorCode | None:
        allowed = _allowed(
            standing,
            subscriber=options.allow_publish_for_subscriber,
            client=options.allow_publish_for_client,
            anonymous=options.allow_publish_for_anonymous,
        )
        return _verdict(options, on=True, allowed=allowed or insecure)

    def may_presence(
        self, options: NamespaceOptions, *, standing: Standing, insecure: bool
    ) -> ErrorCode | None:
        allowed = _allowed(
            standing,
            subscriber=options.allow_presence_for_subscriber,
            client=options.allow_presence_for_client,
            anonymous=options.allow_presence_for_anonymous,
        )
        return _verdict(options, on=options.presence, allowed=allowed or insecure)

    def may_history(
        self, options: NamespaceOptions, *, standing: Standing, insecure: bool
    ) -> ErrorCode | None:
        allowed = _allowed(
            standing,
            subscriber=options.allow_history_for_subscriber,
            client=options.allow_history_for_client,
            anonymous=options.allow_history_for_anonymous,
        )
        return _verdict(options, on=options.has_history, allowed=allowed or insecure)


def _may_subscribe_product(
    topic: str, options: NamespaceOptions, by: SubscribeBy
) -> ErrorCode | None:
    if not by.account or topic.startswith(_PRIVATE):  # `$chat:7` is another topic than `chat:7`
        return ErrorCode.PERMISSION_DENIED
    rest = topic.partition(_BOUNDARY)[2]
    if options.source == "chat":
        good = rest.isascii() and rest.isdecimal() and rest[0] != "0" and len(rest) < 20
    else:
        good = rest == by.account
    return None if good else ErrorCode.PERMISSION_DENIED


def _allowed(standing: Standing, *, subscriber: bool, client: bool, anonymous: bool) -> bool:
    """A subscriber may also do what a client without subscription may."""
    match standing:
        case Standing.SUBSCRIBER:
            return subscriber or client
        case Standing.ANONYMOUS_SUBSCRIBER:
            return subscriber or anonymous
        case Standing.CLIENT:
            return client
        case Standing.ANONYMOUS:
            return anonymous


def _verdict(options: NamespaceOptions, *, on: bool, allowed: bool) -> ErrorCode | None:
    """Product topics refuse always; a feature that is off says so before rights are looked at."""
    if options.is_product:
        return ErrorCode.PERMISSION_DENIED
    if not on:
        return ErrorCode.NOT_AVAILABLE
    return None if allowed else ErrorCode.PERMISSION_DENIED
