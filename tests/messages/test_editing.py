"""`messages.edit` and `messages.delete`."""

from typing import Any

import pytest

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode
from tests.messages.office import CHANNEL, Office, Person

DAY_MS = 86_400_000


async def an_old_message(office: Office, chat: int, seq: int, days: int) -> None:
    sql = "update message set sent_at = sent_at - $3 where chat_id = $1 and seq = $2 returning 1"
    await office.rows(sql, chat, seq, days * DAY_MS)


async def test_given_a_message_when_its_sender_edits_it_then_members_hear_what_is_stored(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat, "salaam")
    await reza.call("messages.react", chat=str(chat), seq=1, emoji="👍")

    edited = await mina.call("messages.edit", chat=str(chat), seq=1, text="salaam!")

    heard = await reza.hears("message.edited", chat=str(chat))
    assert (edited["ev"], heard["ev"]) == (3, 3)
    assert heard["m"] == (await reza.history(chat))["messages"][0]
    assert (heard["m"]["text"], heard["m"]["ev"]) == ("salaam!", 1)
    assert heard["m"]["edited"] == edited["at"]
    assert heard["m"]["reactions"] == {"👍": 1}


async def test_given_the_same_text_again_when_edited_then_no_event_is_made(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    await mina.sends(chat, "salaam")
    first = await mina.call("messages.edit", chat=str(chat), seq=1, text="salaam!")

    again = await mina.call("messages.edit", chat=str(chat), seq=1, text="salaam!")

    assert again == first
    assert await office.counts(chat) == (1, 2)


async def test_given_a_channel_when_an_admin_with_the_right_edits_anothers_then_it_is_done(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza], kind=CHANNEL)
    await office.set_member(chat, mina, role=4)
    await office.set_member(chat, reza, role=3, rights=4)
    await mina.sends(chat, "salaam")
    await an_old_message(office, chat, 1, 30)

    edited = await reza.call("messages.edit", chat=str(chat), seq=1, text="dorood")

    assert edited["ev"] == 2


async def _deleted(mina: Person, chat: int) -> None:
    await mina.call("messages.delete", chat=str(chat), seqs=[1], **{"for": "all"})


async def _old(mina: Person, chat: int) -> None:
    await an_old_message(mina.office, chat, 1, 3)


async def _muted(mina: Person, chat: int) -> None:
    await mina.office.set_member(chat, mina, rights=1)  # type: ignore[arg-type]


async def _expelled(mina: Person, chat: int) -> None:
    await mina.office.set_member(chat, mina, role=0)  # type: ignore[arg-type]


async def _nothing(_mina: Person, _chat: int) -> None:
    pass


EDIT_BAD: dict[str, tuple[Any, dict[str, Any], ErrorCode]] = {
    "seq 0": (_nothing, {"seq": 0}, ErrorCode.BAD_REQUEST),
    "seq 2^31": (_nothing, {"seq": 2**31}, ErrorCode.BAD_REQUEST),
    "seq beyond the last": (_nothing, {"seq": 5}, ErrorCode.NO_MESSAGE),
    "deleted": (_deleted, {}, ErrorCode.NO_MESSAGE),
    "empty": (_nothing, {"text": ""}, ErrorCode.EMPTY_OR_TOO_LONG),
    "too long": (_nothing, {"text": "x" * 4_097}, ErrorCode.EMPTY_OR_TOO_LONG),
    "NUL": (_nothing, {"text": "\0"}, ErrorCode.INVALID),
    "no text": (_nothing, {"text": None}, ErrorCode.BAD_REQUEST),
    "after 48 hours": (_old, {}, ErrorCode.EDIT_WINDOW),
    "blocked or restricted": (_muted, {}, ErrorCode.FORBIDDEN),
    "no longer a member": (_expelled, {}, ErrorCode.NO_CHAT),
    "unknown chat": (_nothing, {"chat": "5"}, ErrorCode.NO_CHAT),
    "another's": (_nothing, {"seq": 2}, ErrorCode.FORBIDDEN),
    "a forward": (_nothing, {"seq": 3}, ErrorCode.FORBIDDEN),
}


@pytest.mark.parametrize("case", EDIT_BAD, ids=list(EDIT_BAD))
async def test_given_bad_input_when_edited_then_it_is_refused_and_nothing_changes(
    office: Office, case: str
) -> None:
    prepare, changes, code = EDIT_BAD[case]
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat, "salaam")
    await reza.sends(chat, "dorood")
    await mina.call(
        "messages.forward", to=str(chat), seqs=[2], random_ids=["9"], **{"from": str(chat)}
    )
    await prepare(mina, chat)
    before = await office.counts(chat), (await reza.history(chat))["messages"]
    data = {"chat": str(chat), "seq": 1, "text": "new"} | changes

    with pytest.raises(Refused) as refused:
        await mina.call(
            "messages.edit", **{name: value for name, value in data.items() if value is not None}
        )

    assert refused.value.code == code
    assert (await office.counts(chat), (await reza.history(chat))["messages"]) == before


async def test_given_messages_when_deleted_for_all_then_tombstones_stay_for_everybody(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    for number in range(5):
        await mina.sends(chat, f"n{number}")
    await reza.call("messages.react", chat=str(chat), seq=2, emoji="👍")

    done = await mina.call("messages.delete", chat=str(chat), seqs=[2, 4, 2], **{"for": "all"})
    joined = await mina.call("messages.delete", chat=str(chat), seqs=[3], **{"for": "all"})

    heard = await reza.hears("message.deleted", chat=str(chat))
    page = await reza.history(chat)
    assert (heard["seqs"], heard["by"], heard["ev"]) == ([2, 4], mina.id, done["ev"])
    assert joined["ev"] == done["ev"] + 1
    assert [message.get("deleted", False) for message in page["messages"]] == [
        False, True, True, True, False,
    ]  # fmt: skip
    assert not any("text" in message or "reactions" in message for message in page["messages"][1:4])
    assert page["gaps"] == [[2, 4]]


async def test_given_deleted_messages_when_deleted_again_then_no_event_is_made(
    office: Office,
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    await mina.sends(chat)
    first = await mina.call("messages.delete", chat=str(chat), seqs=[1], **{"for": "all"})

    again = await mina.call("messages.delete", chat=str(chat), seqs=[1], **{"for": "all"})

    assert again == first


async def test_given_the_right_when_an_admin_deletes_anothers_old_message_then_it_is_done(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await office.set_member(chat, reza, role=3, rights=8)
    await mina.sends(chat)
    await an_old_message(office, chat, 1, 30)

    done = await reza.call("messages.delete", chat=str(chat), seqs=[1], **{"for": "all"})

    assert done["ev"] == 2


DELETE_BAD: dict[str, tuple[Any, dict[str, Any], ErrorCode]] = {
    "none": (_nothing, {"seqs": []}, ErrorCode.BAD_REQUEST),
    "101": (_nothing, {"seqs": list(range(1, 102))}, ErrorCode.BAD_REQUEST),
    "seq 0": (_nothing, {"seqs": [0]}, ErrorCode.BAD_REQUEST),
    "for nobody": (_nothing, {"for": "nobody"}, ErrorCode.BAD_REQUEST),
    "one unknown": (_nothing, {"seqs": [1, 7]}, ErrorCode.NO_MESSAGE),
    "one of another": (_nothing, {"seqs": [1, 2]}, ErrorCode.FORBIDDEN),
    "after 48 hours": (_old, {}, ErrorCode.EDIT_WINDOW),
    "no longer a member": (_expelled, {}, ErrorCode.NO_CHAT),
    "unknown chat": (_nothing, {"chat": "5"}, ErrorCode.NO_CHAT),
    "for me, one unknown": (_nothing, {"for": "me", "seqs": [1, 7]}, ErrorCode.NO_MESSAGE),
    "for me, unknown chat": (_nothing, {"for": "me", "chat": "5"}, ErrorCode.NO_CHAT),
}


@pytest.mark.parametrize("case", DELETE_BAD, ids=list(DELETE_BAD))
async def test_given_bad_input_when_deleted_then_it_is_refused_and_nothing_changes(
    office: Office, case: str
) -> None:
    prepare, changes, code = DELETE_BAD[case]
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await mina.sends(chat, "salaam")
    await reza.sends(chat, "dorood")
    await prepare(mina, chat)
    before = await office.counts(chat), (await reza.history(chat))["messages"]

    with pytest.raises(Refused) as refused:
        await mina.call(
            "messages.delete", **{"chat": str(chat), "seqs": [1], "for": "all"} | changes
        )

    assert refused.value.code == code
    assert (await office.counts(chat), (await reza.history(chat))["messages"]) == before
    hidden = await office.rows("select 1 from hidden where account_id = $1", mina.account)
    assert hidden == []


async def test_given_a_message_when_deleted_for_me_then_only_my_devices_lose_it(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    chat = await office.chat([mina, reza])
    await reza.sends(chat, "salaam")

    done = await mina.call("messages.delete", chat=str(chat), seqs=[1], **{"for": "me"})
    again = await mina.call("messages.delete", chat=str(chat), seqs=[1], **{"for": "me"})

    heard = await mina.hears("message.hidden")
    assert heard == {"t": "message.hidden", "aev": done["aev"], "chat": str(chat), "seqs": [1]}
    assert again["aev"] >= done["aev"]
    assert (await mina.history(chat))["messages"][0]["deleted"]
    assert (await mina.history(chat))["gaps"] == [[1, 1]]
    assert (await reza.history(chat))["messages"][0]["text"] == "salaam"
    assert await office.counts(chat) == (1, 1)
