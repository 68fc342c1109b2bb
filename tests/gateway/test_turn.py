"""One write per connection and turn; urgent before bulk; order within a connection."""

import asyncio

from messenger.gateway.turn import IDLE, SLICE, Queued, Turn


class Connection:
    """Counts its writes."""

    def __init__(self, turn: Turn, log: list[str], name: str) -> None:
        self.queued: Queued = IDLE
        self.turn, self.log, self.name = turn, log, name
        self.out: list[str] = []

    def write(self, what: str) -> None:
        self.out.append(what)
        self.turn.urgent(self)

    def write_bulk(self, what: str) -> None:
        self.out.append(what)
        if self.queued is IDLE:
            self.turn.bulk(self)

    def flush(self) -> None:
        self.queued = IDLE
        if self.out:
            self.log.append(f"{self.name}:{'+'.join(self.out)}")
            self.out.clear()


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_given_several_frames_in_a_turn_when_it_ends_then_they_leave_in_one_write() -> None:
    log: list[str] = []
    connection = Connection(Turn(asyncio.get_running_loop()), log, "a")

    connection.write("1")
    connection.write("2")
    await turns(2)

    assert log == ["a:1+2"]


async def test_given_bulk_and_urgent_when_the_turn_ends_then_urgent_goes_first() -> None:
    log: list[str] = []
    turn = Turn(asyncio.get_running_loop())
    many = [Connection(turn, log, f"b{n}") for n in range(SLICE + 10)]
    one = Connection(turn, log, "u")

    for connection in many:
        connection.write_bulk("x")
    one.write("y")
    await turns(1)

    assert log[0] == "u:y"
    assert len(log) == SLICE + 1
    await turns(2)
    assert len(log) == SLICE + 11


async def test_given_bulk_then_urgent_on_one_connection_when_flushed_then_order_holds() -> None:
    log: list[str] = []
    turn = Turn(asyncio.get_running_loop())
    connection = Connection(turn, log, "a")

    connection.write_bulk("1")
    connection.write("2")
    connection.write_bulk("3")
    await turns(3)

    assert log == ["a:1+2+3"]


async def test_given_bulk_writes_when_asked_what_follows_then_it_comes_after_them() -> None:
    log: list[str] = []
    turn = Turn(asyncio.get_running_loop())
    turn.after_bulk(lambda: log.append("at once"))
    for number in range(3):
        Connection(turn, log, str(number)).write_bulk("x")
    turn.after_bulk(lambda: log.append("after"))
    Connection(turn, log, "late").write_bulk("x")

    await turns(1)

    assert log == ["at once", "0:x", "1:x", "2:x", "after", "late:x"]


async def test_given_a_round_that_just_began_when_more_is_written_then_it_waits_and_is_joined() -> (
    None
):
    log: list[str] = []
    turn = Turn(asyncio.get_running_loop())
    connection = Connection(turn, log, "a")
    connection.write_bulk("1")
    await turns(2)
    assert log == ["a:1"]

    connection.write_bulk("2")
    await turns(3)
    connection.write_bulk("3")
    assert log == ["a:1"]
    left = asyncio.Event()
    turn.after_bulk(left.set)
    async with asyncio.timeout(5):
        await left.wait()

    assert log == ["a:1", "a:2+3"]
