"""The rule that says whether a tick is drawn, row by row."""

import msgspec
import pytest

from messenger.badges import Badge, BadgeFact, BadgeStatus, Subject, name_hash, shown, status

NOW = 1_000
SUBJECT = Subject(handle="mina", title="مینا", owner_id=71)
FACT = BadgeFact(
    id="b1",
    kind="person",
    authority="moi",
    label="نماینده",
    icon="tick",
    not_before=900,
    not_after=2_000,
    name_hash=name_hash("mina", "مینا"),
    owner_id="71",
    idx=4,
)


def replaced(**changes: object) -> BadgeFact:
    return msgspec.structs.replace(FACT, **changes)


@pytest.mark.parametrize(
    ("fact", "subject", "now", "expected"),
    [
        (None, SUBJECT, NOW, BadgeStatus.NONE),
        (FACT, Subject("mina", "مینا", 71, deleted=True), NOW, BadgeStatus.NONE),
        (FACT, SUBJECT, 899, BadgeStatus.PENDING),
        (FACT, SUBJECT, 2_000, BadgeStatus.EXPIRED),
        (replaced(suspended_until=1_001), SUBJECT, NOW, BadgeStatus.SUSPENDED),
        (replaced(suspended_until=1_000), SUBJECT, NOW, BadgeStatus.VALID),
        (FACT, Subject("mina", "مینا ۲", 71), NOW, BadgeStatus.NAME_CHANGED),
        (FACT, Subject("mina2", "مینا", 71), NOW, BadgeStatus.NAME_CHANGED),
        (FACT, Subject("mina", "مینا", 72), NOW, BadgeStatus.OWNER_CHANGED),
        (FACT, SUBJECT, 900, BadgeStatus.VALID),
    ],
)
def test_given_a_fact_and_its_subject_when_read_then_the_first_reason_counts(
    fact: BadgeFact | None, subject: Subject, now: int, expected: BadgeStatus
) -> None:
    assert status(fact, subject, now) is expected
    assert (shown(fact, 3, subject, now) is not None) is (expected is BadgeStatus.VALID)


def test_given_a_valid_badge_when_shown_then_objects_carry_kind_label_until_and_version() -> None:
    assert shown(FACT, 3, SUBJECT, NOW) == Badge("person", "نماینده", 2_000, 3)


def test_given_a_fact_when_stored_as_json_then_it_comes_back_and_leaves_out_what_is_unset() -> None:
    stored = msgspec.json.encode(FACT)
    assert b"suspended_until" not in stored
    assert msgspec.json.decode(stored, type=BadgeFact) == FACT


def test_given_handle_and_title_when_hashed_then_they_cannot_slide_into_each_other() -> None:
    assert name_hash("ab", "c") != name_hash("a", "bc")
    assert name_hash(None, "c") == name_hash("", "c")
