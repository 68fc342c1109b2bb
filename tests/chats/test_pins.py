"""chats.pin_message by whom the chat does not belong to alone: the blocked, and the newly come."""

import pytest

from messenger.wire.codes import ErrorCode
from tests.chats.world import Person, World


async def test_given_a_block_then_the_blocked_side_neither_pins_nor_unpins(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.opens(reza)
    await mina.sends(chat)
    await reza.sends(chat)
    await mina.call("pin_message", chat=chat, seq=1, on=True)
    await world.call(mina.caller, "accounts.block", b'{"account":"%d","on":true}' % reza.account)

    for seq, on in ((2, True), (1, False)):
        refused = await reza.refusal("pin_message", chat=chat, seq=seq, on=on)
        assert (refused.code, refused.details) == (ErrorCode.FORBIDDEN, {"right": "pin"})
    await mina.call("pin_message", chat=chat, seq=2, on=True)

    assert [kind for _, kind, _ in await world.events(chat)] == [4, 4]


@pytest.mark.parametrize("shown", [False, True])
async def test_given_a_message_from_before_my_time_then_i_pin_it_only_where_history_is_shown(
    world: World, mina: Person, reza: Person, *, shown: bool
) -> None:
    chat = await mina.creates()
    await mina.call("update", chat=chat, history_for_new=shown, rights=[])
    await mina.sends(chat)
    await mina.call("add_members", chat=chat, accounts=[reza.id])
    await mina.sends(chat)

    if shown:
        await reza.call("pin_message", chat=chat, seq=1, on=True)
    else:
        refused = await reza.refusal("pin_message", chat=chat, seq=1, on=True)
        assert refused.code is ErrorCode.NO_MESSAGE
        await mina.call("pin_message", chat=chat, seq=1, on=True)
        refused = await reza.refusal("pin_message", chat=chat, seq=1, on=False)
        assert refused.code is ErrorCode.NO_MESSAGE
    await reza.call("pin_message", chat=chat, seq=2, on=True)
