"""`messages.forward`."""

from typing import Any

import pytest

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode
from tests.messages.office import Office, Person


async def forward(
    person: Person, source: int, to: int, seqs: list[int], keys: list[str], **more: Any
) -> Any:
    data = {"from": str(source), "to": str(to), "seqs": seqs, "random_ids": keys} | more
    return await person.call("messages.forward", **data)


async def test_given_a_message_when_forwarded_twice_on_then_its_first_author_is_named(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    first, second, third = [await office.chat([mina, reza]) for _ in range(3)]
    await mina.sends(first, "salaam", ents=[{"k": "bold", "at": 0, "n": 6}])
    at = (await mina.history(first))["messages"][0]["at"]

    sent = await forward(reza, first, second, [1], ["1"])
    await forward(mina, second, third, [1], ["2"])

    copy = (await mina.history(third))["messages"][0]
    assert (sent["sent"][0]["seq"], sent["sent"][0]["ev"]) == (1, 1)
    assert copy["fwd"] == {"account": mina.id, "at": at}
    assert (copy["text"], copy["from"]) == ("salaam", mina.id)
    assert copy["ents"] == [{"k": "bold", "at": 0, "n": 6}]
    assert (await reza.hears("message.new", chat=str(third)))["m"] == copy


async def test_given_a_public_chat_when_forwarded_then_the_chat_is_named_too(
    office: Office,
) -> None:
    mina = await office.person()
    source, to = await office.chat([mina], flags=64), await office.chat([mina])
    await mina.sends(source)

    await forward(mina, source, to, [1], ["2"])

    fwd = (await mina.history(to))["messages"][0]["fwd"]
    assert (fwd["chat"], fwd["seq"]) == (str(source), 1)


async def test_given_hide_sender_when_forwarded_then_nobody_is_named(office: Office) -> None:
    mina = await office.person()
    source, to = await office.chat([mina], flags=64), await office.chat([mina])
    await mina.sends(source)

    await forward(mina, source, to, [1], ["2"], hide_sender=True)

    assert (await mina.history(to))["messages"][0]["fwd"].keys() == {"at"}


async def test_given_some_that_are_gone_when_forwarded_then_each_is_answered_on_its_own(
    office: Office,
) -> None:
    mina = await office.person()
    source, to = await office.chat([mina]), await office.chat([mina])
    for number in range(3):
        await mina.sends(source, f"n{number}")
    await mina.call("messages.delete", chat=str(source), seqs=[2], **{"for": "all"})

    sent = (await forward(mina, source, to, [1, 2, 3, 9], ["91", "92", "93", "94"]))["sent"]

    assert [one.get("seq") for one in sent] == [1, None, 2, None]
    assert [one.get("error", {}).get("code") for one in sent] == [None, 1301, None, 1301]


async def test_given_a_lost_answer_when_repeated_after_an_edit_then_nothing_is_sent_twice(
    office: Office,
) -> None:
    mina = await office.person()
    source, to = await office.chat([mina]), await office.chat([mina])
    await mina.sends(source)
    first = await forward(mina, source, to, [1], ["91"])
    await mina.call("messages.edit", chat=str(source), seq=1, text="dorood")

    again = await forward(mina, source, to, [1], ["91"])

    assert again["sent"] == [first["sent"][0] | {"dup": True}]
    assert await office.counts(to) == (1, 1)


@pytest.mark.parametrize("change", ["deleted", "left", "protected"])
async def test_given_a_lost_answer_when_repeated_after_the_source_is_gone_then_it_is_answered(
    office: Office, change: str
) -> None:
    mina, reza = await office.people(2)
    source, to = await office.chat([reza, mina]), await office.chat([mina])
    for number in range(2):
        await reza.sends(source, f"n{number}")
    first = await forward(mina, source, to, [1, 2], ["91", "92"])
    match change:
        case "deleted":
            await reza.call("messages.delete", chat=str(source), seqs=[1], **{"for": "all"})
        case "left":
            await office.set_member(source, mina, role=0)
        case _:
            await office.set_chat(source, flags=8)

    again = await forward(mina, source, to, [1, 2], ["91", "92"])

    assert again["sent"] == [{**one, "dup": True} for one in first["sent"]]
    assert len((await mina.history(to))["messages"]) == 2


async def test_given_a_key_of_another_forward_when_used_again_then_it_is_refused(
    office: Office,
) -> None:
    mina = await office.person()
    source, to = await office.chat([mina]), await office.chat([mina])
    for number in range(2):
        await mina.sends(source, f"n{number}")
    await forward(mina, source, to, [1], ["91"])

    sent = (await forward(mina, source, to, [2], ["91"]))["sent"]

    assert [one["error"]["code"] for one in sent] == [ErrorCode.IDEMPOTENCY_MISMATCH]


async def test_given_no_right_to_post_when_forwarded_then_the_message_is_refused(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    source, to = await office.chat([mina]), await office.chat([reza])
    await mina.sends(source)

    sent = (await forward(mina, source, to, [1], ["91"]))["sent"]

    assert sent[0]["error"]["code"] == ErrorCode.NO_CHAT
    assert await office.counts(to) == (0, 0)


async def test_given_a_chat_that_hides_its_past_when_a_newcomer_forwards_it_then_it_is_not_there(
    office: Office,
) -> None:
    mina, newcomer = await office.people(2)
    source = await office.chat([mina], flags=32)
    await mina.sends(source)
    await office.joins(source, newcomer)
    to = await office.chat([newcomer])

    sent = (await forward(newcomer, source, to, [1], ["91"]))["sent"]

    assert sent[0]["error"]["code"] == ErrorCode.NO_MESSAGE


BAD: dict[str, tuple[dict[str, Any], ErrorCode]] = {
    "none": ({"seqs": [], "random_ids": []}, ErrorCode.BAD_REQUEST),
    "51": ({"seqs": [1] * 51, "random_ids": ["1"] * 51}, ErrorCode.BAD_REQUEST),
    "too few keys": ({"seqs": [1, 1]}, ErrorCode.INVALID),
    "the same key twice": ({"seqs": [1, 1], "random_ids": ["5", "5"]}, ErrorCode.INVALID),
    "key beyond 63 bits": ({"random_ids": [str(2**63)]}, ErrorCode.INVALID),
    "from an unknown chat": ({"from": "5"}, ErrorCode.NO_CHAT),
    "no target": ({"to": ""}, ErrorCode.BAD_REQUEST),
}


@pytest.mark.parametrize("case", BAD, ids=list(BAD))
async def test_given_bad_input_when_forwarded_then_it_is_refused(office: Office, case: str) -> None:
    changes, code = BAD[case]
    mina = await office.person()
    source, to = await office.chat([mina]), await office.chat([mina])
    await mina.sends(source)
    data = {"from": str(source), "to": str(to), "seqs": [1], "random_ids": ["91"]} | changes

    with pytest.raises(Refused) as refused:
        await mina.call("messages.forward", **data)

    assert refused.value.code == code
    assert await office.counts(to) == (0, 0)


async def test_given_a_protected_chat_when_forwarded_then_it_is_refused(office: Office) -> None:
    mina = await office.person()
    source, to = await office.chat([mina], flags=8), await office.chat([mina])
    await mina.sends(source)

    with pytest.raises(Refused) as refused:
        await forward(mina, source, to, [1], ["91"])

    assert refused.value.code == ErrorCode.PROTECTED_CONTENT
