"""The plan: the same on every machine, bounded, and below the product's limits."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadgen.demo.plan import Act, event_of, plan_demo, tagged
from loadgen.demo.population import PHONES, SMALL_CHAT, phone_of, populate


def test_given_a_seed_when_planned_twice_then_the_bytes_are_equal() -> None:
    first = msgspec.json.encode(plan_demo(populate(7, 40), 20.0))
    again = msgspec.json.encode(plan_demo(populate(7, 40), 20.0))
    other = msgspec.json.encode(plan_demo(populate(8, 40), 20.0))

    assert first == again
    assert first != other


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), people=st.integers(2, 60), seconds=st.floats(1.0, 30.0))
def test_given_any_size_when_planned_then_steps_are_in_time_and_refer_backwards(
    seed: int, people: int, seconds: float
) -> None:
    population = populate(seed, people)
    plan = plan_demo(population, seconds)

    sends = {}
    for number, step in enumerate(plan.steps, start=1):
        assert step.event == number
        assert 0.0 <= step.at_s < seconds
        if step.act is not Act.CUT:
            place = population.places[step.place]
            assert population.owners[step.device] in place.members
        if step.act is Act.SEND:
            sends[step.event] = step
        if step.of:
            assert sends[step.of].place == step.place
            assert step.act is Act.SEND or sends[step.of].device == step.device
        assert step.at_s + step.away_s <= seconds + 1e-3


def test_given_the_standard_demo_when_planned_then_every_act_happens_and_limits_hold() -> None:
    population = populate(7, 200)
    plan = plan_demo(population, 40.0)

    assert all(plan.counts.values()), plan.counts
    assert plan.counts[Act.SEND] > 3_000
    per_chat: dict[tuple[int, int], int] = {}
    for step in plan.steps:
        if step.act is Act.SEND:
            key = (population.owners[step.device], step.place)
            per_chat[key] = per_chat.get(key, 0) + 1
    assert max(per_chat.values()) <= 20  # burst 20 and 0.5/s would allow 40


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_given_a_device_when_it_is_cut_twice_then_it_was_back_in_between(seed: int) -> None:
    plan = plan_demo(populate(seed, 60), 20.0)

    back: dict[int, float] = {}
    for step in plan.steps:
        if step.act is Act.CUT:
            assert step.at_s > back.get(step.device, 0.0)
            back[step.device] = step.at_s + step.away_s
    assert back


def test_given_a_population_when_drawn_then_chats_have_distinct_members_and_few_openers() -> None:
    population = populate(3, 200)
    assert population.square is not None
    assert (
        len(population.square.members)
        > SMALL_CHAT
        > max(len(group.members) for group in population.groups)
    )

    opened: dict[int, int] = {}
    for place in population.places:
        assert len(set(place.members)) == len(place.members) >= 2
        opened[place.members[0]] = opened.get(place.members[0], 0) + 1
    assert max(opened.values()) <= 4  # protocol B5: five on the first day
    assert len({place.members for place in population.directs}) == len(population.directs)


@given(a=st.integers(0, PHONES - 1), b=st.integers(0, PHONES - 1), salt=st.integers(0, 10**9))
def test_given_two_indexes_when_made_to_phones_then_they_differ(a: int, b: int, salt: int) -> None:
    assert (phone_of(a, 7, salt) == phone_of(b, 7, salt)) == (a == b)


@given(phrase=st.text(max_size=40), event=st.integers(1, 10**9))
def test_given_any_phrase_when_tagged_then_the_event_is_read_back(phrase: str, event: int) -> None:
    assert event_of(tagged(phrase, event)) == event


@pytest.mark.parametrize("text", ["", "⟦⟧", "⟦x⟧", "⟧5⟦", "no tag", "⟦12345678901234⟧"])
def test_given_a_text_without_a_tag_when_read_then_there_is_no_event(text: str) -> None:
    assert event_of(text) == 0


@pytest.mark.parametrize(("people", "seconds"), [(1, 10.0), (2_001, 10.0), (5, 0.5), (5, 4_000.0)])
def test_given_a_size_out_of_bounds_when_planned_then_it_is_refused(
    people: int, seconds: float
) -> None:
    with pytest.raises(ValueError, match="a demo"):
        plan_demo(populate(1, people), seconds)
