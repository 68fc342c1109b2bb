"""Whatever changes a chat is on record until it was told: another node tells for a dead one."""

from typing import Any

import pytest

from messenger.ids import ChatId
from tests.chats.world import Person, World

CHANGES: dict[str, dict[str, Any]] = {
    "update": {"title": "another"},
    "pin_message": {"seq": 1, "on": True},
    "add_members": {"accounts": ["sara"]},
    "remove_member": {"account": "reza"},
    "set_role": {"account": "reza", "role": "admin", "rights": []},
    "restrict": {"account": "reza", "deny": ["post"]},
    "transfer": {"account": "reza"},
    "delete": {},
}


@pytest.mark.parametrize("method", CHANGES)
async def test_given_a_group_when_changed_then_it_was_on_record(
    world: World, mina: Person, reza: Person, sara: Person, method: str
) -> None:
    chat = await mina.creates(reza)
    await mina.sends(chat)
    ids = {"reza": reza.id, "sara": sara.id}
    request = {
        name: [ids[one] for one in value] if name == "accounts" else ids.get(str(value), value)
        for name, value in CHANGES[method].items()
    }

    await mina.call(method, chat=chat, **request)

    assert world.recorded.count(ChatId(int(chat))) == 1
