"""The client rules one by one; docs/client-rules.md says them in words."""

import pytest

from messenger.client.core import CHECK_S
from messenger.client.errors import RpcError
from messenger.client.line import HOLD_S
from tests.client.device import Device
from tests.client.plain_server import ME, OTHER


@pytest.fixture
def device() -> Device:
    return Device.ready()


def test_given_a_hole_in_a_chat_when_it_does_not_fill_then_only_that_chat_is_asked_for(
    device: Device,
) -> None:
    device.server.post(device.chat, OTHER, "lost")
    device.hears(device.server.post(device.chat, OTHER, "heard"))
    assert device.texts() == ["first"]
    assert device.core.due() == HOLD_S

    device.wait(HOLD_S)
    device.answer_all()

    assert device.texts() == ["first", "lost", "heard"]
    assert device.asked == {"sync.difference": 1}


def test_given_a_hole_in_the_account_when_it_does_not_fill_then_its_facts_are_asked_for(
    device: Device,
) -> None:
    device.server.read(device.chat, 1)
    device.hears(device.server.mute(device.chat, 9))

    device.wait(HOLD_S)
    device.answer_all()

    assert device.core.state.chats["100"].unread == 0
    assert device.core.state.chats["100"].settings["muted_until"] == 9
    assert device.asked == {"sync.difference": 1}


def test_given_a_chat_that_is_joined_when_told_then_it_is_fetched_as_a_whole(
    device: Device,
) -> None:
    joined = device.server.join("101")
    chat = device.server.chats["101"]
    early = device.server.post(chat, OTHER, "early")

    device.hears(early)
    device.hears(joined)
    device.hears(device.server.post(chat, OTHER, "live"))
    device.answer_all()

    assert device.texts("101") == ["early", "live"]
    assert device.asked == {"chats.get": 1, "messages.history": 1}


def test_given_an_update_of_an_unknown_chat_when_no_join_follows_then_it_is_looked_up(
    device: Device,
) -> None:
    device.server.join("101")
    joined_late = device.server.post(device.server.chats["101"], OTHER, "hello")
    stranger = {"t": "message.new", "chat": "555", "ev": 1, "m": joined_late["m"]}

    device.hears(joined_late)
    device.hears(stranger)
    device.wait(HOLD_S)
    device.answer_all()

    assert device.texts("101") == ["hello"]
    assert "555" not in device.core.state.chats
    assert device.core.due() is not None, "only the account's gap is left"


def test_given_a_chat_that_is_left_while_it_is_fetched_when_refused_then_nothing_is_wrong(
    device: Device,
) -> None:
    device.hears(device.server.join("101"))
    (get,) = device.pending()
    device.answer(get)
    device.refusals["messages.history"] = RpcError(1202, "NO_CHAT")
    device.answer_all()

    device.hears(device.server.leave(device.server.chats["101"]))
    device.answer_all()

    assert list(device.core.state.chats) == ["100", "900"]
    assert device.core.problems == []


def test_given_a_dirty_small_chat_when_told_then_it_is_repaired_at_once(device: Device) -> None:
    device.server.post(device.chat, OTHER, "untold")
    dirty = {"t": "chat.dirty", "chat": "100", "epoch": 1, "ev": 2, "seq": 2, "at": 0}

    device.hears(dirty)
    device.hears(dirty)
    device.answer_all()
    device.hears(dirty)

    assert device.texts() == ["first", "untold"]
    assert device.asked == {"sync.difference": 1}
    device.hears({**dirty, "chat": "555"})
    assert device.pending() == []


def test_given_a_send_when_answered_then_the_ack_counts_as_the_event(device: Device) -> None:
    settled = []
    sending = device.core.send("100", "mine", reply=1)
    sending.settled = settled.append
    assert list(device.core.unsent) == ["1"]

    device.answer_all()
    device.hears(device.chat.events[-1])

    assert device.texts() == ["first", "mine"]
    assert device.core.state.chats["100"].unread == 0
    assert sending.result == {"seq": 2, "ev": 2, "at": 0}
    assert (settled, dict(device.core.unsent)) == ([sending], {})
    assert [update["t"] for update in device.seen] == ["message.new"]


def test_given_a_lost_answer_when_back_then_the_same_send_is_repeated(device: Device) -> None:
    sending = device.core.send("100", "mine")
    (call,) = device.pending()
    device.server.answer(call.method, call.data)

    device.core.on_disconnected()
    device.core.send("100", "written offline")
    device.core.on_connected(recovered=True, now=0.0)
    device.answer_all()

    assert sending.result is not None
    assert sending.result["dup"] is True
    assert device.texts() == ["first", "mine", "written offline"]


def test_given_a_cold_start_when_messages_wait_then_they_go_after_the_catch_up() -> None:
    device = Device()
    device.server.join("100")
    device.core.send("100", "hello", random_id="77")

    device.core.on_connected(recovered=False, now=0.0)
    device.answer_all()

    assert device.texts() == ["hello"]
    assert list(device.server.sent) == ["77"]


def test_given_a_send_that_is_refused_when_told_then_it_is_not_repeated(device: Device) -> None:
    device.refusals["messages.send"] = RpcError(1203, 'FORBIDDEN {"right":"send"}')

    sending = device.core.send("100", "no")
    device.answer_all()

    assert sending.error is not None
    assert (sending.error.code, dict(device.core.unsent)) == (1203, {})


def test_given_a_send_that_is_to_wait_when_more_is_written_then_nothing_overtakes_it(
    device: Device,
) -> None:
    device.refusals["messages.send"] = RpcError(1004, 'TIMEOUT {"retry_after_ms":1000}')
    for text in ("one", "two"):
        device.core.send("100", text)
    device.core.send("900", "elsewhere")
    device.answer_all()
    assert device.texts() == ["first"]
    assert device.texts("900") == ["elsewhere"], "another chat need not wait"

    device.core.send("100", "three")
    device.answer_all()
    device.wait(1.1)
    device.answer_all()

    assert device.texts() == ["first", "one", "two", "three"]


def test_given_a_resync_when_a_send_is_answered_twice_then_those_behind_it_still_go(
    device: Device,
) -> None:
    device.core.send("100", "one")
    (call,) = device.pending()
    for text in ("two", "three"):
        device.core.send("100", text)
    device.hears({"t": "resync"})
    device.wait(30)
    device.answer_all()
    device.answer(call)
    device.answer_all()

    assert device.texts() == ["first", "one", "two", "three"]
    assert dict(device.core.unsent) == {}


def test_given_a_rate_limit_when_a_send_is_refused_then_it_goes_again_later(
    device: Device,
) -> None:
    device.refusals["messages.send"] = RpcError(1010, 'RATE_LIMITED {"retry_after_ms":700}')
    sending = device.core.send("100", "later")

    device.answer_all()
    assert (sending.result, device.core.due()) == (None, 0.7)
    device.wait(0.7)
    device.answer_all()

    assert sending.result is not None


def test_given_a_scheduled_send_when_answered_then_no_event_is_made_up(device: Device) -> None:
    sending = device.core.send("100", "later", schedule_at=9)
    (call,) = device.pending()

    device.core.on_answer(call, {"scheduled_id": "5"}, device.now)

    assert sending.result == {"scheduled_id": "5"}
    assert device.texts() == ["first"]


def test_given_rpcs_of_the_application_when_they_succeed_then_their_numbers_are_heard_of(
    device: Device,
) -> None:
    core, now = device.core, device.now
    sent = {"chat": "100", "random_id": "5", "text": "raw", "media": ["8"]}
    result = device.server.answer("messages.send", sent)
    core.on_result("messages.send", sent, result, now)
    assert device.texts() == ["first", "raw"]

    device.server.edit(device.chat, 1, "edited")
    core.on_result("messages.edit", {"chat": "100", "seq": 1}, {"ev": 3, "at": 0}, now)
    device.server.mute(device.chat, 4)
    core.on_result("chats.mute", {"chat": "100"}, {"aev": device.server.aev}, now)
    core.on_result("system.hello", {}, {"version": "1"}, now)
    device.wait(HOLD_S)
    device.answer_all()

    assert device.texts() == ["edited", "raw"]
    assert core.state.chats["100"].settings["muted_until"] == 4


def test_given_ephemeral_updates_when_told_then_the_application_sees_them(device: Device) -> None:
    typing = {"t": "typing", "chat": "100", "from": OTHER, "kind": "text"}
    receipt = {"t": "receipt", "chat": "100", "account": OTHER, "read_seq": 1, "delivered_seq": 1}

    device.hears(typing)
    device.hears(receipt)

    assert device.seen == [typing, receipt]
    assert device.core.state.chats["100"].receipts == {OTHER: 1}


def test_given_a_device_without_connection_when_time_passes_then_nothing_happens(
    device: Device,
) -> None:
    device.core.on_disconnected()

    device.wait(CHECK_S)

    assert device.pending() == []
    assert device.core.state.account == ME


def test_given_media_without_text_when_sent_then_the_ack_makes_a_message_without_text(
    device: Device,
) -> None:
    device.core.send("100", "", media=["8"])
    (call,) = device.pending()

    device.core.on_answer(call, {"seq": 2, "ev": 2, "at": 5}, device.now)

    message = device.core.state.chats["100"].messages[2]
    assert (message["k"], message["media"], "text" in message) == ("media", ["8"], False)
