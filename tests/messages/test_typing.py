"""`messages.typing`."""

import asyncio

import pytest

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode
from tests.messages.office import Office


async def test_given_a_small_chat_when_one_types_then_only_the_others_are_told(
    office: Office,
) -> None:
    mina, reza, sara = await office.people(3)
    chat = await office.chat([mina, reza, sara])

    first = await mina.call("messages.typing", chat=str(chat), kind="text")
    second = await mina.call("messages.typing", chat=str(chat), kind="stop")

    assert first == second == {}
    for other in (reza, sara):
        heard = await other.hears("typing")
        assert heard == {"t": "typing", "chat": str(chat), "from": mina.id, "kind": "text"}
        assert (await other.hears("typing"))["kind"] == "stop"
    assert mina.heard.empty()


async def test_given_a_big_chat_or_a_blocked_writer_when_they_type_then_nobody_is_told(
    office: Office,
) -> None:
    mina, reza = await office.people(2)
    big, small = await office.chat([mina, reza], flags=1), await office.chat([mina, reza])
    await office.set_member(small, mina, rights=1)

    for chat in (big, small):
        assert await mina.call("messages.typing", chat=str(chat), kind="text") == {}
    await reza.sends(small)

    assert (await reza.hears("message.new"))["chat"] == str(small)
    assert reza.heard.empty()


@pytest.mark.parametrize(
    ("chat", "kind", "code"),
    [
        ("5", "text", ErrorCode.NO_CHAT),
        ("9" * 19, "text", ErrorCode.INVALID),
        ("5", "singing", ErrorCode.BAD_REQUEST),
        ("-5", "text", ErrorCode.BAD_REQUEST),
    ],
)
async def test_given_bad_input_when_typing_then_it_is_refused(
    office: Office, chat: str, kind: str, code: ErrorCode
) -> None:
    mina = await office.person()

    with pytest.raises(Refused) as refused:
        await mina.call("messages.typing", chat=chat, kind=kind)

    assert refused.value.code == code


async def test_given_a_flood_of_first_typings_when_asked_then_those_beyond_the_bound_are_refused(
    office: Office,
) -> None:
    mina = await office.person()
    answers = await asyncio.gather(
        *(mina.call("messages.typing", chat=str(n), kind="text") for n in range(1, 1_200)),
        return_exceptions=True,
    )

    codes = {answer.code for answer in answers if isinstance(answer, Refused)}
    assert codes == {ErrorCode.NO_CHAT, ErrorCode.OVERLOADED}
