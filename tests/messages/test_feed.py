"""The log read back as updates."""

from typing import Any

import pytest

from messenger.ids import ChatId
from messenger.log.events import EventKind
from tests.messages.office import Office

EVENTS: list[tuple[EventKind, int | None, dict[str, Any] | None, dict[str, Any]]] = [
    (EventKind.PIN, 1, {"on": True}, {"t": "message.pinned", "seq": 1, "on": True, "by": "7"}),
    (EventKind.INFO, None, {"set": {"title": "نو"}}, {"t": "chat.updated", "set": {"title": "نو"}}),
    (
        EventKind.MEMBER,
        None,
        {"account": "8", "role": "member"},
        {"t": "member.changed", "account": "8", "role": "member", "by": "7"},
    ),
    (
        EventKind.ROLE,
        None,
        {"account": "8", "role": "admin"},
        {"t": "member.changed", "account": "8", "role": "admin", "by": "7"},
    ),
    (EventKind.REACTIONS, 1, {"counts": {"👍": 2}}, {"t": "message.reactions", "seq": 1}),
    (EventKind.DELETE, None, {"seqs": [1]}, {"t": "message.deleted", "seqs": [1], "by": "7"}),
    (EventKind.BIG, None, None, {"t": "chat.big"}),
    (EventKind.CHAT_DELETED, None, None, {"t": "chat.deleted"}),
]


@pytest.mark.parametrize("event", EVENTS, ids=lambda event: event[0].name)
async def test_given_an_event_when_read_back_then_it_is_the_update_of_the_wire(
    office: Office, event: tuple[Any, ...]
) -> None:
    kind, seq, payload, expected = event
    mina = await office.person()
    chat = await office.chat([mina])
    await mina.sends(chat)
    await office.events.append_event(chat, kind, seq, 7, payload)  # type: ignore[arg-type]

    found = await mina.call("sync.difference", aev=0, chats=[[str(chat), 1, 1]])

    update = found["chats"][0]["events"][0]
    assert expected | {"chat": str(chat), "ev": 2} == {
        key: value for key, value in update.items() if key != "counts"
    }


async def test_given_a_chat_when_its_topic_is_opened_then_members_may_and_see_where_it_stands(
    office: Office,
) -> None:
    mina, stranger = await office.people(2)
    chat = await office.chat([mina], flags=1)
    for _ in range(3):
        await mina.sends(chat)
    feed = office.feed

    assert await feed.may_open(chat, mina.account)
    assert not await feed.may_open(chat, stranger.account)
    assert await feed.head(chat) == (1, 3)
    assert await feed.head(ChatId(5)) == (0, 0)
    assert [ev for ev, _ in await feed.since(chat, 1, 10)] == [2, 3]
    assert await feed.since(ChatId(5), 0, 10) == []
