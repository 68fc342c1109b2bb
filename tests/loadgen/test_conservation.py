"""Every law finds the fault that breaks it, and an honest run breaks none."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from loadgen.demo.conservation import Breach, Verdict, check
from loadgen.demo.ledger import Message, Outcome
from loadgen.demo.plan import tagged
from loadgen.demo.truth import Shown, Stored, Truth
from tests.loadgen.world import World

seeds = st.integers(min_value=0, max_value=10_000)
honest = settings(max_examples=25, deadline=None)
planted = settings(max_examples=10, deadline=None)


def judged(world: World, truth: Truth | None = None) -> Verdict:
    return check(world.ledger, truth or world.truth())


def broken(verdict: Verdict) -> set[str]:
    return {rule.name for rule in verdict.rules if rule.broken}


@honest
@given(seed=seeds, people=st.integers(2, 9))
def test_given_an_honest_run_when_it_is_checked_then_nothing_is_found(
    seed: int, people: int
) -> None:
    world = World(seed, people)

    verdict = judged(world)

    assert verdict.clean, [rule for rule in verdict.rules if rule.broken]
    assert verdict.line == "0 lost, 0 duplicated, 0 reordered, unread exact"
    assert verdict.compared > len(world.messages())


@planted
@given(seed=seeds, pick=st.randoms(use_true_random=False))
def test_given_an_acked_message_when_it_is_not_stored_then_it_is_lost(seed, pick) -> None:
    world = World(seed)
    gone = pick.choice(world.messages())
    room = world.rooms[gone.chat]
    room.messages = [m for m in room.messages if m.seq != gone.seq]

    verdict = judged(world)

    assert verdict.counts[Breach.LOST]
    assert "stored" in broken(verdict)


@planted
@given(seed=seeds, pick=st.randoms(use_true_random=False))
def test_given_a_message_when_it_is_stored_twice_then_it_is_duplicated(seed, pick) -> None:
    world = World(seed)
    twice = pick.choice(world.messages())
    room = world.rooms[twice.chat]
    seq = len(room.messages) + 1
    text = tagged("again", twice.event)
    room.messages.append(Stored(seq, room.note("message.new", seq), twice.account, text))

    verdict = judged(world)

    assert verdict.counts[Breach.DUPLICATED]
    assert "stored" in broken(verdict)


@planted
@given(seed=seeds, pick=st.randoms(use_true_random=False))
def test_given_a_device_when_a_push_never_came_then_it_is_lost(seed, pick) -> None:
    world = World(seed)
    device = pick.choice(sorted(world.ledger.applied))
    rows = world.ledger.applied[device]
    del rows[pick.randrange(len(rows))]

    verdict = judged(world)

    assert verdict.counts[Breach.LOST] == 1
    assert broken(verdict) == {"seen"}


@planted
@given(seed=seeds, pick=st.randoms(use_true_random=False))
def test_given_a_device_when_a_push_came_twice_then_it_is_duplicated(seed, pick) -> None:
    world = World(seed)
    device = pick.choice(sorted(world.ledger.applied))
    rows = world.ledger.applied[device]
    rows.append(pick.choice(rows))

    verdict = judged(world)

    assert verdict.counts[Breach.DUPLICATED] == 1
    assert broken(verdict) == {"seen"}


@planted
@given(seed=seeds)
def test_given_a_device_when_two_pushes_are_swapped_then_they_are_reordered(seed: int) -> None:
    world = World(seed, seconds=30.0)
    rows = max(world.ledger.applied.values(), key=len)
    chat = max((row.chat for row in rows), key=[row.chat for row in rows].count)
    first, second = [place for place, row in enumerate(rows) if row.chat == chat][:2]
    rows[first], rows[second] = rows[second], rows[first]

    verdict = judged(world)

    assert verdict.counts[Breach.REORDERED] == 1
    assert broken(verdict) == {"seen"}


def test_given_one_device_when_its_sends_were_stored_in_another_order_then_it_is_said() -> None:
    world = World(3, people=2, seconds=40.0)
    mine = [m for m in world.messages() if m.device == world.messages()[0].device]
    first, second = next((a, b) for a in mine for b in mine if a.chat == b.chat and a.seq < b.seq)
    first.seq, second.seq = second.seq, first.seq

    verdict = judged(world)

    assert verdict.counts[Breach.REORDERED] >= 1
    assert "order" in broken(verdict)


@planted
@given(seed=seeds, pick=st.randoms(use_true_random=False), off=st.sampled_from([-1, 1]))
def test_given_a_wrong_unread_on_one_device_when_checked_then_it_is_found(seed, pick, off) -> None:
    world = World(seed)
    truth = world.truth()
    device = pick.choice(sorted(truth.devices))
    chat = pick.choice(sorted(truth.devices[device]))
    shown = truth.devices[device][chat]
    truth.devices[device][chat] = replace(shown, unread=shown.unread + off)

    verdict = judged(world, truth)

    assert verdict.counts[Breach.UNREAD] == 1
    assert broken(verdict) == {"unread"}


def _server_forgets_a_cursor(world: World) -> Truth:
    truth = world.truth()
    account, chat = next(
        (account, chat)
        for account, heads in truth.heads.items()
        for chat, head in heads.items()
        if head.read_seq and not truth.chats[chat].messages[0].deleted
    )
    truth.heads[account][chat] = replace(truth.heads[account][chat], read_seq=0)
    return truth


def _an_edit_is_forgotten(world: World) -> Truth:
    edited = next(c for c in world.ledger.changes.values() if c.text and c.ev)
    message = world.ledger.messages[edited.of]
    room = world.rooms[message.chat]
    old = room.messages[message.seq - 1]
    room.messages[message.seq - 1] = replace(old, text=message.text, deleted=False)
    return world.truth()


def _a_device_shows_an_old_text(world: World) -> Truth:
    truth = world.truth()
    chat = next(chat for chat, room in world.rooms.items() if room.messages)
    device = next(device for device, at in world.ledger.opened if at == chat)
    shown = truth.devices[device][chat]
    texts = {**shown.texts, 1: "something else"}
    truth.devices[device][chat] = Shown(shown.ev, shown.read_seq, shown.unread, texts)
    return truth


def _a_refused_message_is_stored(world: World) -> Truth:
    refused = next(m for m in world.ledger.messages.values() if m.outcome is Outcome.REFUSED)
    _append(world, refused, refused.text)
    return world.truth()


def _an_unanswered_message_is_stored_twice(world: World) -> Truth:
    loose = next(m for m in world.ledger.messages.values() if m.outcome is Outcome.OPEN)
    _append(world, loose, loose.text)
    _append(world, loose, loose.text)
    return world.truth()


def _a_stranger_is_told(world: World) -> Truth:
    device, rows = next(item for item in world.ledger.applied.items())
    strange = next(chat for chat, room in world.rooms.items() if _outside(world, device, room))
    rows.append(replace(rows[0], chat=strange))
    return world.truth()


def _nobody_wrote_it(world: World) -> Truth:
    message = world.messages()[0]
    _append(world, message, "who wrote this?")
    return world.truth()


def _a_seq_is_missing(world: World) -> Truth:
    room = next(room for room in world.rooms.values() if len(room.messages) > 2)
    room.messages[-1] = replace(room.messages[-1], seq=room.messages[-1].seq + 1)
    return world.truth()


def _an_ev_is_missing(world: World) -> Truth:
    room = next(room for room in world.rooms.values() if len(room.facts) > 2)
    del room.facts[1]
    return world.truth()


def _another_sender_is_named(world: World) -> Truth:
    message = world.messages()[0]
    room = world.rooms[message.chat]
    room.messages[message.seq - 1] = replace(room.messages[message.seq - 1], sender="a999")
    return world.truth()


def _outside(world: World, device: int, room) -> bool:
    return world.ledger.accounts[device] not in room.members


def _append(world: World, message: Message, text: str) -> None:
    room = world.rooms[message.chat]
    seq = len(room.messages) + 1
    room.messages.append(Stored(seq, room.note("message.new", seq), message.account, text))


@pytest.mark.parametrize(
    ("plant", "law", "breach"),
    [
        (_server_forgets_a_cursor, "unread", Breach.UNREAD),
        (_an_edit_is_forgotten, "text", Breach.WRONG),
        (_a_device_shows_an_old_text, "shown", Breach.WRONG),
        (_a_refused_message_is_stored, "unacked", Breach.WRONG),
        (_an_unanswered_message_is_stored_twice, "unacked", Breach.DUPLICATED),
        (_a_stranger_is_told, "members", Breach.WRONG),
        (_nobody_wrote_it, "members", Breach.WRONG),
        (_a_seq_is_missing, "dense", Breach.LOST),
        (_an_ev_is_missing, "dense", Breach.LOST),
        (_another_sender_is_named, "stored", Breach.WRONG),
    ],
)
def test_given_a_planted_fault_when_checked_then_its_law_names_it_with_an_example(
    plant: Callable[[World], Truth], law: str, breach: Breach
) -> None:
    world = World(11, people=8, seconds=30.0)
    assert judged(world).clean

    verdict = judged(world, plant(world))

    rule = next(rule for rule in verdict.rules if rule.name == law)
    assert rule.broken
    assert any(example.startswith(breach) for example in rule.examples)
    assert not verdict.clean


def test_given_a_lost_answer_to_a_cursor_when_checked_then_both_counts_are_fine() -> None:
    world = World(5)
    message = world.messages()[0]
    room = world.rooms[message.chat]
    account = next(a for a in sorted(room.members) if a != message.account)
    world.ledger.reading(account, message.chat, len(room.messages))

    assert judged(world).clean
    room.read[account] = len(room.messages)
    assert judged(world).clean
