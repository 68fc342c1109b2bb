"""Chats that become big, or are joined big: from then on only `sync.heads` brings their heads."""

import pytest

from tests.client.device import Device
from tests.client.plain_server import OTHER


@pytest.fixture
def device() -> Device:
    return Device.ready()


def test_given_a_chat_that_becomes_big_when_told_then_big_heads_are_asked_for_soon(
    device: Device,
) -> None:
    device.hears(device.server.event(device.chat, "chat.big"))
    device.chat.big = True
    device.server.post(device.chat, OTHER, "on a topic that is not heard")

    device.wait(0.5)
    assert device.pending() == []
    device.wait(0.5)
    device.answer_all()

    assert device.asked == {"sync.heads": 1}
    chat = device.core.state.chats["100"]
    assert (chat.big, chat.changed, chat.unread) == (True, True, 2)


def test_given_a_big_chat_when_it_is_joined_then_big_heads_are_asked_for(device: Device) -> None:
    device.hears(device.server.join("901", big=True))
    device.answer_all()
    device.server.post(device.server.chats["901"], OTHER, "after the chat was fetched")

    device.wait(1.0)
    device.answer_all()

    assert device.asked["sync.heads"] == 1
    assert device.core.state.chats["901"].unread == 1


def test_given_a_small_chat_when_it_is_joined_then_no_heads_are_asked_for(device: Device) -> None:
    device.hears(device.server.join("101"))
    device.answer_all()

    device.wait(5.0)
    device.answer_all()

    assert device.asked["sync.heads"] == 0


def test_given_a_chat_that_became_big_when_a_catch_up_runs_then_its_heads_wait_for_the_end(
    device: Device,
) -> None:
    device.hears(device.server.event(device.chat, "chat.big"))
    device.chat.big = True
    device.core.resync()
    (heads,) = device.pending()

    device.wait(1.0)
    assert device.pending() == []
    assert device.core.due() is not None
    device.answer(heads)
    device.answer_all()
    device.wait(1.0)
    device.answer_all()

    assert device.core.ready
    assert device.core.state.chats["100"].big
