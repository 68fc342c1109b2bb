"""Neither answers nor the work behind them tell whether a phone is known."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event

from messenger.accounts.housekeeping import DAY_MS
from messenger.wire.codes import ErrorCode
from tests.accounts.world import Person, World, new_phone

LABEL = {"name": "Pixel", "platform": "android", "app": "1.0"}


@contextmanager
def statements(world: World) -> Iterator[list[str]]:
    """The SQL that the world sends meanwhile."""
    seen: list[str] = []

    def note(_connection: Any, _cursor: Any, sql: str, *_rest: Any) -> None:
        seen.append(sql)

    engine = world.db._engine.sync_engine
    event.listen(engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_given_a_known_and_an_unknown_phone_when_codes_are_asked_then_the_work_is_the_same(
    world: World, mina: Person
) -> None:
    with statements(world) as known:
        await world.ticket(mina.phone)
    with statements(world) as unknown:
        await world.ticket(new_phone())

    assert known == unknown
    assert not [sql for sql in known if " account" in sql or " phone " in sql]


async def test_given_a_wrong_code_when_typed_for_either_then_work_and_answer_are_the_same(
    world: World, mina: Person
) -> None:
    answers, work = [], []
    for phone in (mina.phone, new_phone()):
        ticket, code = await world.ticket(phone)
        wrong = "00000" if code != "00000" else "11111"
        with statements(world) as sent:
            answers.append(
                await world.refusal(
                    None, "accounts.sign_in", ticket=ticket, code=wrong, device=LABEL
                )
            )
        work.append(sent)

    assert answers[0].message == answers[1].message == 'CODE_WRONG {"left":4}'
    assert work[0] == work[1]
    assert len(work[0]) == 1


async def test_given_a_signed_in_person_when_rows_are_read_then_phone_and_tokens_are_not_there(
    world: World, mina: Person
) -> None:
    async with world.db.statement() as connection:
        rows: list[Any] = []
        for table in ("account", "device", "phone", "otp"):
            sql = f"select t::text from {table} t"  # noqa: S608 - constants of this test
            rows += (await connection.exec_driver_sql(sql)).fetchall()

    stored = str(rows)
    assert mina.phone[1:] not in stored
    assert mina.refresh not in stored
    assert mina.token not in stored
    assert mina.phone.encode().hex() not in stored


async def test_given_a_hidden_person_when_numbers_are_imported_then_answers_are_as_for_nobody(
    world: World, mina: Person, reza: Person
) -> None:
    await world.call(reza, "accounts.privacy", set={"find_by_phone": "nobody"})

    hidden = await world.call(mina, "accounts.import_contacts", phones=[reza.phone])
    nobody = await world.call(mina, "accounts.import_contacts", phones=[new_phone()])

    assert hidden == nobody == {"matched": []}


async def test_given_a_request_long_ago_when_its_ticket_is_shown_then_it_is_as_one_made_up(
    world: World,
) -> None:
    ticket, code = await world.ticket(new_phone())
    world.clock.passes(seconds=DAY_MS / 1_000)

    old = await world.refusal(None, "accounts.sign_in", ticket=ticket, code=code, device=LABEL)
    made_up = await world.refusal(None, "accounts.sign_in", ticket="x", code=code, device=LABEL)

    assert old.message == made_up.message == "CODE_EXPIRED"


@pytest.mark.parametrize("method", ["accounts.sign_in", "accounts.delete"])
async def test_given_a_right_code_for_another_purpose_when_used_then_it_is_used_once(
    world: World, mina: Person, method: str
) -> None:
    ticket, code = await world.ticket(mina.phone)
    data: dict[str, Any] = {"ticket": ticket, "code": code}
    await world.call(mina, method, **data, device=LABEL)

    again = await world.refusal(mina, "accounts.sign_in", **data, device=LABEL)

    assert again.code is ErrorCode.CODE_EXPIRED
