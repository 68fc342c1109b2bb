"""Catching up: heads, differences, pages; docs/client-rules.md says it in words."""

import pytest

from messenger.client.core import CHECK_S, fnv1a
from messenger.client.errors import RpcError
from messenger.client.line import HOLD_S
from tests.client.device import Device
from tests.client.plain_server import KEPT, KEPT_FACTS, OTHER


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


def test_given_more_chats_than_an_answer_holds_when_fetched_then_the_others_are_asked_again() -> (
    None
):
    device = Device()
    device.server.page = 2
    for number in range(100, 105):
        device.server.join(str(number))
        device.server.post(device.server.chats[str(number)], OTHER, f"in {number}")

    device.core.on_connected(recovered=False, now=0.0)
    device.answer_all()

    assert device.core.ready
    assert [device.texts(str(number)) for number in range(100, 105)] == [
        [f"in {number}"] for number in range(100, 105)
    ]
    assert device.asked["chats.get"] == 3


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
    for number in (101, 102, 103):
        device.server.join(str(number))
    device.server.leave(device.big)
    for until in range(KEPT_FACTS):
        device.server.mute(device.chat, until)

    device.core.on_connected(recovered=False, now=0.0)
    device.answer_all()

    assert sorted(device.core.state.chats) == ["100", "101", "102", "103"]
    assert device.core.state.chats["100"].settings["muted_until"] == KEPT_FACTS - 1
    assert device.asked["chats.list"] == 2


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


def test_given_a_refusal_that_should_not_be_when_catching_up_then_it_is_remembered(
    device: Device,
) -> None:
    device.refusals["sync.heads"] = RpcError(104, "method not found")

    device.core.resync()
    device.answer_all()

    assert [error.code for error in device.core.problems] == [104]
    assert device.core.ready


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


def test_given_a_difference_that_overlaps_live_updates_when_applied_then_each_counts_once(
    device: Device,
) -> None:
    device.server.post(device.chat, OTHER, "lost")
    device.hears(device.server.post(device.chat, OTHER, "heard"))
    device.wait(HOLD_S)
    (difference,) = device.pending()
    device.hears(device.chat.events[1])

    device.answer(difference)

    assert device.texts() == ["first", "lost", "heard"]
    assert [update["ev"] for update in device.seen] == [2, 3]


def test_given_a_chat_that_is_left_while_its_page_comes_when_answered_then_it_stays_gone(
    device: Device,
) -> None:
    device.hears(device.server.join("101"))
    (get,) = device.pending()
    device.answer(get)
    (page,) = device.pending()

    device.hears(device.server.leave(device.server.chats["101"]))
    device.answer(page)

    assert "101" not in device.core.state.chats


def test_given_a_big_chat_of_which_only_heads_changed_elsewhere_when_back_then_it_is_not_fetched(
    device: Device,
) -> None:
    device.core.on_disconnected()
    device.server.join("901", big=True)

    device.core.on_connected(recovered=True, now=device.now)
    device.wait(1.0)
    device.answer_all()

    assert device.asked == {"sync.heads": 1}
    assert "901" not in device.core.state.chats, "`chat.joined` on `user:` is what adds it"
