"""Ids of chats as they come from clients."""

from collections.abc import Iterable

from messenger.feature import Refused
from messenger.ids import ChatId, parse_id
from messenger.wire.codes import ErrorCode


def chat_of(text: str) -> ChatId:
    """Refused(NO_CHAT) where the number does not fit 63 bits: there is no such chat."""
    number = parse_id(text)
    if number is None:
        raise Refused(ErrorCode.NO_CHAT)
    return ChatId(number)


def chats_of(texts: Iterable[str]) -> list[ChatId]:
    """In the order given, each once; numbers that fit no chat are left out as unknown."""
    known = (parse_id(text) for text in texts)
    return [ChatId(number) for number in dict.fromkeys(known) if number is not None]
