"""The client rules one by one; docs/client-rules.md says them in words."""

import pytest

from messenger.client.core import CHECK_S, fnv1a
from messenger.client.errors import RpcError
from messenger.client.line import HOLD_S
from tests.client.device import Device
from tests.client.plain_server import KEPT, KEPT_FACTS, ME, OTHER


@pytest.fixture
def device() -> Device:
    return Device.ready()


def test_given_a_cold_device_when_it_connects_then_it_fetches_heads_chats_and_newest_pages() -> (
    None
):
    device = Device()
    for number in range(100, 105):
        device.server.join(str(number))
        device.server.post(device.server.chats[str(number)], OTHER, f"in {number}")

    device.core.on_connected(recovered=False, now=0.0)
    device.answer_all()

    assert device.core.ready
    assert device.texts("103") == ["in 103"]
    assert device.core.state.aev == device.server.aev
    assert device.asked == {"sync.heads": 3, "chats.get": 1, "messages.history": 5}


def test_given_updates_during_the_catch_up_when_it_ends_then_they_are_spliced_in() -> None:
    device = Device()
    device.server.join("100")
    device.core.on_connected(recovered=False, now=0.0)
    early = device.server.post(device.chat, OTHER, "before the heads")
    device.hears(early)
    assert device.seen == []

    (heads,) = device.pending()
    device.answer(heads)
    device.hears(device.server.post(device.chat, OTHER, "after the heads"))
    device.answer_all()

    assert device.texts() == ["before the heads", "after the heads"]
    assert [update["ev"] for update in device.seen] == [2]


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


def test_given_more_missed_than_a_slice_when_asked_for_then_the_rest_follows(
    device: Device,
) -> None:
    for number in range(KEPT):
        last = device.server.post(device.chat, OTHER, str(number))
    device.hears(last)

    device.wait(HOLD_S)
    device.answer_all()

    assert device.texts() == ["first", *map(str, range(KEPT))]
    assert device.asked == {"sync.difference": 3}


def test_given_more_missed_than_kept_when_asked_for_then_the_newest_page_replaces_the_range(
    device: Device,
) -> None:
    for number in range(KEPT + 1):
        last = device.server.post(device.chat, OTHER, str(number))
    device.hears(last)

    device.wait(HOLD_S)
    device.answer_all()

    assert device.texts() == ["3", "4", "5", "6", "7"]
    assert device.core.state.chats["100"].unread == device.chat.unread
    assert device.asked == {"sync.difference": 1, "messages.history": 1}


def test_given_an_absence_that_outlives_the_facts_when_back_then_the_list_is_the_truth(
    device: Device,
) -> None:
    device.core.on_disconnected()
    device.server.join("101")
    device.server.leave(device.big)
    for until in range(KEPT_FACTS):
        device.server.mute(device.chat, until)

    device.core.on_connected(recovered=False, now=0.0)
    device.answer_all()

    assert sorted(device.core.state.chats) == ["100", "101"]
    assert device.core.state.chats["100"].settings["muted_until"] == KEPT_FACTS - 1
    assert device.asked["chats.list"] == 1


def test_given_more_chats_than_one_call_takes_when_they_differ_then_the_left_ones_follow() -> None:
    device = Device()
    for number in range(100, 105):
        device.server.join(str(number))
    device.core.on_connected(recovered=False, now=0.0)
    device.answer_all()
    device.core.on_disconnected()
    for chat in device.server.mine():
        device.server.post(chat, OTHER, "while away")

    device.core.on_connected(recovered=False, now=0.0)
    device.answer_all()

    assert all(device.texts(chat.id) == ["while away"] for chat in device.server.mine())


def test_given_a_short_drop_when_recovered_then_only_big_heads_are_asked_for(
    device: Device,
) -> None:
    device.core.on_disconnected()
    device.server.post(device.big, OTHER, "in the big one")
    missed = device.server.post(device.chat, OTHER, "missed")

    device.core.on_connected(recovered=True, now=0.0)
    device.hears(missed)
    device.answer_all()
    assert device.asked == {}
    device.wait(1.0)
    device.answer_all()

    assert device.texts() == ["first", "missed"]
    assert device.asked == {"sync.heads": 1}
    big = device.core.state.chats["900"]
    assert (big.changed, big.unread, big.ev) == (True, 1, 0)


def test_given_a_catch_up_that_was_broken_off_when_recovered_then_it_starts_again() -> None:
    device = Device()
    device.server.join("100")
    device.core.on_connected(recovered=False, now=0.0)
    (heads,) = device.pending()
    device.answer(heads)

    device.reconnect(recovered=True)
    device.answer_all()

    assert device.core.ready
    assert device.asked["sync.heads"] == 2


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


def test_given_a_refusal_that_should_not_be_when_catching_up_then_it_is_remembered(
    device: Device,
) -> None:
    device.refusals["sync.heads"] = RpcError(104, "method not found")

    device.core.resync()
    device.answer_all()

    assert [error.code for error in device.core.problems] == [104]
    assert device.core.ready


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


def test_given_a_dirty_big_chat_when_it_comes_on_screen_then_what_changed_is_fetched(
    device: Device,
) -> None:
    device.server.post(device.big, OTHER, "one")
    dirty = {"t": "chat.dirty", "chat": "900", "epoch": 1, "ev": 1, "seq": 1, "at": 0}
    device.hears(dirty)
    assert device.core.state.chats["900"].changed
    assert device.pending() == []

    device.core.open_big("900")
    device.answer_all()
    device.hears(device.server.post(device.big, OTHER, "two"))

    assert device.texts("900") == ["one", "two"]
    assert not device.core.state.chats["900"].changed
    device.core.close_big("900")
    device.hears({**dirty, "ev": 3, "seq": 3})
    assert device.core.state.chats["900"].unread == 3


def test_given_a_big_chat_that_is_being_fetched_when_opened_then_it_is_not_asked_twice() -> None:
    device = Device()
    device.server.join("900", big=True)
    device.core.on_connected(recovered=False, now=0.0)
    (heads,) = device.pending()
    device.answer(heads)

    device.core.open_big("900")
    device.answer_all()

    assert device.asked["sync.difference"] == 0
    assert device.core.ready


def test_given_a_restored_backup_when_seen_in_heads_then_the_chat_is_taken_anew(
    device: Device,
) -> None:
    device.server.post(device.chat, OTHER, "second")
    device.hears(device.chat.events[-1])
    device.server.restore(device.chat, 1)

    device.reconnect(recovered=False)
    device.answer_all()
    device.hears(device.server.post(device.chat, OTHER, "another second"))

    assert device.texts() == ["first", "another second"]
    assert device.core.state.chats["100"].epoch == 2


def test_given_a_restored_backup_when_seen_in_a_difference_then_the_chat_is_taken_anew(
    device: Device,
) -> None:
    device.server.restore(device.chat, 0)
    for text in ("a", "b", "c"):
        last = device.server.post(device.chat, OTHER, text)
    device.hears(last)

    device.wait(HOLD_S)
    device.answer_all()

    assert device.texts() == ["a", "b", "c"]


def test_given_resync_when_told_then_everything_is_compared_after_a_while(device: Device) -> None:
    device.server.post(device.chat, OTHER, "lost")

    device.hears({"t": "resync"})
    device.answer_all()
    assert device.core.due() == 15.0
    device.wait(15.0)
    device.answer_all()

    assert device.texts() == ["first", "lost"]


def test_given_ten_minutes_when_they_pass_then_the_digest_is_compared(device: Device) -> None:
    device.wait(CHECK_S)
    device.answer_all()
    assert device.asked == {"sync.check": 1}

    device.server.post(device.chat, OTHER, "never heard of")
    device.wait(CHECK_S)
    device.answer_all()

    assert device.texts() == ["first", "never heard of"]
    assert device.asked["sync.heads"] == 1


def test_given_work_in_progress_when_ten_minutes_pass_then_the_check_waits(device: Device) -> None:
    device.core.send("100", "unanswered")

    device.wait(CHECK_S)

    assert [call.method for call in device.pending()] == ["messages.send"]


def test_given_a_digest_when_computed_then_it_is_the_published_function() -> None:
    assert fnv1a("") == "cbf29ce484222325"
    assert fnv1a("a") == "af63dc4c8601ec8c"


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
