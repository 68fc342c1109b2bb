"""What a text may be: checked before anything is written, and without effect."""

import unicodedata
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from messenger.feature import Refused
from messenger.messages.protocol import MAX_TEXT, MAX_TEXT_BYTES, Entity
from messenger.wire.codes import ErrorCode

MAX_ENTITY_BYTES = 16_384  # of their JSON: one message always fits into a page


class TextBounds(Struct, frozen=True, gc=False):
    """Settings `message_chars` and `message_bytes`; both hold after NFC."""

    chars: int = MAX_TEXT
    size: int = MAX_TEXT_BYTES


def checked_text(text: str, ents: Sequence[Entity], bounds: TextBounds) -> str:
    """The text as it is stored (NFC); Refused where it or its entities cannot be."""
    if "\0" in text:  # PostgreSQL cannot store it
        raise Refused(ErrorCode.INVALID, {"field": "text", "why": "NUL"})
    if not text.isascii():
        text = unicodedata.normalize("NFC", text)
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        raise Refused(ErrorCode.INVALID, {"field": "text", "why": "lone surrogate"}) from None
    if len(text) > bounds.chars or _blank(text):
        raise Refused(ErrorCode.EMPTY_OR_TOO_LONG, {"limit": bounds.chars})
    if size > bounds.size:
        raise Refused(ErrorCode.EMPTY_OR_TOO_LONG, {"limit": bounds.size, "unit": "bytes"})
    check_entities(text, ents)
    return text


def check_entities(text: str, ents: Sequence[Entity]) -> None:
    """Within the text, in order of their start, and each with the fields of its kind alone."""
    if ents and len(msgspec.json.encode(ents)) > MAX_ENTITY_BYTES:
        raise Refused(ErrorCode.TOO_LARGE, {"field": "ents", "limit": MAX_ENTITY_BYTES})
    start = 0
    for entity in ents:
        if entity.at < start:
            raise Refused(ErrorCode.INVALID, {"field": "ents", "why": "out of order"})
        if entity.at + entity.n > len(text):
            raise Refused(ErrorCode.INVALID, {"field": "ents", "why": "beyond the text"})
        if (entity.k == "link") != (entity.url is not None):
            raise Refused(ErrorCode.INVALID, {"field": "ents", "why": "url belongs to a link"})
        if entity.account is not None and entity.k != "mention":
            raise Refused(ErrorCode.INVALID, {"field": "ents", "why": "account but no mention"})
        if entity.lang is not None and entity.k != "pre":
            raise Refused(ErrorCode.INVALID, {"field": "ents", "why": "lang belongs to pre"})
        start = entity.at


def _blank(text: str) -> bool:
    """Nothing to see: only separators, controls and format characters."""
    if text and unicodedata.category(text[0])[0] not in "ZC":  # nearly all: one look is enough
        return False
    return all(unicodedata.category(character)[0] in "ZC" for character in text)
