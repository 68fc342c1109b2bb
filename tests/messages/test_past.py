"""A group that keeps its past from new members keeps it on every way to a message."""

import secrets

import pytest

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode
from tests.messages.office import Office
from tests.support.line import joined
from tests.support.platform import Platform, SignedIn

BIG, NO_HISTORY = 1, 32


def a_key() -> str:
    return str(secrets.randbelow(2**62) + 1)


async def a_group_with_a_past(platform: Platform) -> tuple[str, SignedIn, SignedIn]:
    """(chat, its owner, one who came after the first message)."""
    owner, newcomer = await platform.signs_up("mina"), await platform.signs_up("reza")
    group = {"kind": "group", "title": "g", "random_id": a_key()}
    chat = (await platform.post("chats.create", group, owner.token))["chat"]["id"]
    closed = {"chat": chat, "history_for_new": False}
    await platform.post("chats.update", closed, owner.token)
    said = {"chat": chat, "random_id": a_key(), "text": "before"}
    await platform.post("messages.send", said, owner.token)
    added = {"chat": chat, "accounts": [newcomer.account]}
    await platform.post("chats.add_members", added, owner.token)
    return chat, owner, newcomer


async def test_given_a_hidden_past_when_its_topic_is_recovered_then_the_newcomer_sees_tombstones(
    platform: Platform,
) -> None:
    chat, owner, newcomer = await a_group_with_a_past(platform)
    from_the_start = {"channel": f"chat:{chat}", "recover": True, "offset": 0, "epoch": ""}

    said = {}
    for person in (owner, newcomer):
        async with joined(platform.ws_url, person.token) as line:
            reply = await line.says(subscribe=from_the_start)
        updates = [one["data"] for one in reply["subscribe"]["publications"]]
        [said[person.account]] = [one["m"] for one in updates if one["t"] == "message.new"]

    assert said[owner.account]["text"] == "before"
    assert said[newcomer.account]["deleted"] is True
    assert "text" not in said[newcomer.account]


async def test_given_a_hidden_past_when_the_feed_is_read_for_nobody_then_edits_show_no_text(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina], flags=BIG | NO_HISTORY)
    await mina.sends(chat, "first")
    await mina.call("messages.edit", chat=str(chat), seq=1, text="SECRET")

    [(_, _), (ev, update)] = await office.feed.since(chat, 0, 10)
    [(_, _), (_, own)] = await office.feed.since(chat, 0, 10, mina.account)

    assert ev == 2
    assert b"chat.dirty" in update
    assert b"SECRET" not in update
    assert b"message.edited" in own


async def test_given_a_hidden_past_when_it_is_edited_then_newcomers_hear_no_text_and_touch_nothing(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina], flags=NO_HISTORY)
    await mina.sends(chat, "first")
    await office.joins(chat, reza)
    await office.set_chat(chat, member_ver=2)

    await mina.call("messages.edit", chat=str(chat), seq=1, text="SECRET")

    assert (await reza.hears("chat.dirty", chat=str(chat)))["ev"] == 2
    found = await mina.call("sync.difference", aev=0, chats=[[str(chat), 1, 1]])
    assert found["chats"][0]["events"][0]["m"]["text"] == "SECRET"
    for method, more in (("messages.react", {"emoji": "👍"}), ("messages.readers", {})):
        with pytest.raises(Refused) as refused:
            await reza.call(method, chat=str(chat), seq=1, **more)
        assert refused.value.code == ErrorCode.NO_MESSAGE


async def test_given_a_deleted_chat_with_seats_when_read_then_it_shows_no_text(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    await mina.sends(chat, "SECRET")
    await office.set_chat(chat, flags=4)

    found = await mina.call("sync.difference", aev=0, chats=[[str(chat), 1, 0]])

    assert "SECRET" not in str(found)
    assert not await office.feed.may_open(chat, mina.account)


async def test_given_a_change_whose_answer_was_lost_when_repeated_then_all_hear_where_it_stands(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat)
    for method, more in (
        ("messages.edit", {"seq": 1, "text": "new"}),
        ("messages.delete", {"seqs": [1], "for": "all"}),
    ):
        await mina.call(method, chat=str(chat), **more)
        answer = await mina.call(method, chat=str(chat), **more)

        assert (await reza.hears("chat.dirty", chat=str(chat)))["ev"] == answer["ev"]
