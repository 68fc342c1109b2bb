"""chats.pin_message by whom the chat does not belong to alone: the blocked, and the newly come."""

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
