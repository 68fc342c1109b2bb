"""Whatever changes a message is on record until it was told: another node tells for a dead one."""

from typing import Any

import pytest

from tests.messages.office import Office

CHANGES: dict[str, dict[str, Any]] = {
    "messages.edit": {"seq": 1, "text": "dorood"},
    "messages.delete": {"seqs": [1], "for": "all"},
    "messages.react": {"seq": 1, "emoji": "👍"},
}


@pytest.mark.parametrize("method", CHANGES)
async def test_given_a_message_when_changed_then_its_chat_was_on_record(
    office: Office, method: str
) -> None:
    mina = await office.person()
    chat = await office.chat([mina])
    await mina.sends(chat)

    await mina.call(method, chat=str(chat), **CHANGES[method])

    assert office.recorded.count(chat) == 1
