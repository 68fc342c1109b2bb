"""A link by itself, against a peer that says what a test wants."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import hiredis
import pytest

from messenger.bus.link import BusDown, Link, packed_parts
from messenger.bus.shard import Address, BusRefused, check_server, checked, parse_info
from messenger.metrics import Metrics
from tests.bus.redis_server import free_port


class Peer:
    """The other end: keeps what came, answers as told."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[bytes] = asyncio.Queue()
        self.link: Link
        self.closed = asyncio.Event()
        self.done = asyncio.Event()
        self.pushed: asyncio.Queue[list[object]] = asyncio.Queue()
        self.metrics = Metrics()
        self.reads = asyncio.Event()
        self.reads.set()
        self._writer: asyncio.StreamWriter

    def say(self, reply: bytes) -> None:
        self._writer.write(reply)

    def hang_up(self) -> None:
        self._writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        try:
            while data := await reader.read(65_536):
                self.heard.put_nowait(data)
                await self.reads.wait()
        except ConnectionError:
            pass  # the link was cut off, not closed
        finally:
            writer.close()
            self.done.set()

    async def closes(self) -> str:
        """Wait until the link is closed; why."""
        async with asyncio.timeout(5):
            await self.closed.wait()
        return self.link.reason


@asynccontextmanager
async def linked(
    timeout_s: float = 5, on_moved: Callable[[], None] | None = None, *, pushes: bool = True
) -> AsyncIterator[Peer]:
    peer = Peer()
    port = free_port()
    server = await asyncio.start_server(peer.serve, "127.0.0.1", port)
    _, peer.link = await asyncio.get_running_loop().create_connection(
        lambda: Link(
            bound=1_000_000,
            timeout_s=timeout_s,
            metrics=peer.metrics,
            scripts={"a" * 40: "#!lua\nreturn 1"},
            on_push=peer.pushed.put_nowait if pushes else None,
            on_closed=lambda _reason: peer.closed.set(),
            on_moved=on_moved,
        ),
        "127.0.0.1",
        port,
    )
    try:
        yield peer
    finally:
        peer.link.close("test over")
        await peer.closes()
        await peer.done.wait()
        server.close()


async def test_given_commands_of_one_turn_when_sent_then_they_leave_in_one_write() -> None:
    async with linked() as peer:
        first, second = peer.link.ask("GET", "a"), peer.link.ask("GET", "b")
        assert (
            await peer.heard.get()
            == b"*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$1\r\nb\r\n"
        )

        peer.say(b"$1\r\n1\r")
        peer.say(b"\n$1\r\n2\r\n")
        assert (await first, await second) == (b"1", b"2")


async def test_given_a_turn_far_over_the_bound_when_the_peer_reads_then_all_of_it_arrives() -> None:
    async with linked() as peer:
        total = 0
        for _ in range(200):
            peer.link.send_packed(b"x" * 20_000)
            total += 20_000
        async with asyncio.timeout(5):
            while total:
                total -= len(await peer.heard.get())
        assert not peer.link.closed
        assert peer.link.queued_bytes == 0


async def test_given_a_peer_that_reads_nothing_when_over_the_bound_then_the_link_is_given_up() -> (
    None
):
    async with linked() as peer:
        peer.reads.clear()
        most = 0
        while not peer.link.closed:
            if peer.link.queued_bytes <= 1_000_000:
                peer.link.send_packed(b"x" * 100_000)
            most = max(most, peer.link.queued_bytes)
            await asyncio.sleep(0)
        peer.reads.set()
        assert await peer.closes() == "queue full"
        assert most <= 1_100_000


async def test_given_one_turn_of_many_times_the_bound_when_sent_then_the_link_is_given_up() -> None:
    async with linked() as peer:
        peer.reads.clear()
        for _ in range(200):
            peer.link.send_packed(b"x" * 200_000)
        assert peer.link.closed
        peer.reads.set()
        assert await peer.closes() == "queue full"


async def test_given_answers_owed_when_the_peer_hangs_up_then_each_becomes_bus_down() -> None:
    async with linked() as peer:
        answers = [peer.link.ask("GET", "a") for _ in range(3)]
        peer.link.send(("GET", "b"))
        await peer.heard.get()

        peer.hang_up()

        for answer in await asyncio.gather(*answers, return_exceptions=True):
            assert isinstance(answer, BusDown)
        assert await peer.closes() == "closed by Redis"
        with pytest.raises(BusDown):
            await peer.link.ask("GET", "a")
        peer.link.send(("GET", "b"))
        peer.link.send_unanswered(("SSUBSCRIBE", "a"))


@pytest.mark.parametrize("noise", [b"!!!\r\n", b"+OK\r\n"], ids=["no protocol", "not asked for"])
async def test_given_noise_when_it_comes_then_the_link_is_given_up(noise: bytes) -> None:
    async with linked() as peer:
        peer.link.send_unanswered(("SSUBSCRIBE", "a"))
        await peer.heard.get()
        peer.say(noise)
        assert await peer.closes() == "not understood"


async def test_given_a_silent_peer_when_the_time_out_passes_then_the_link_is_given_up() -> None:
    async with linked(timeout_s=0.2) as peer:
        with pytest.raises(BusDown, match="no answer"):
            await peer.link.ask("GET", "a")


async def test_given_nothing_to_do_when_time_passes_then_the_peer_is_probed() -> None:
    async with linked(timeout_s=0.2) as peer:
        assert await peer.heard.get() == b"*1\r\n$4\r\nPING\r\n"
        peer.say(b"+PONG\r\n")
        assert await peer.heard.get() == b"*1\r\n$4\r\nPING\r\n"
    assert sum(peer.metrics.bus_seconds.counts) == 1


async def test_given_a_refused_subscription_when_told_then_the_link_is_given_up() -> None:
    moves: list[None] = []
    async with linked(on_moved=lambda: moves.append(None)) as peer:
        peer.link.send_unanswered(("SSUBSCRIBE", "a"))
        await peer.heard.get()
        peer.say(b"-MOVED 1 127.0.0.1:1\r\n")
        assert await peer.closes() == "subscription refused: MOVED"
    assert len(moves) == 1


async def test_given_a_push_when_it_comes_between_replies_then_both_find_their_way() -> None:
    async with linked() as peer:
        answer = peer.link.ask("GET", "a")
        await peer.heard.get()
        peer.say(b">2\r\n+smessage\r\n+x\r\n+OK\r\n")
        assert await answer == b"OK"
        assert list(await peer.pushed.get()) == [b"smessage", b"x"]


async def test_given_a_push_nobody_expects_when_it_comes_then_the_link_lives_on() -> None:
    async with linked(pushes=False) as peer:
        answer = peer.link.ask("GET", "a")
        await peer.heard.get()
        peer.say(b">1\r\n+x\r\n+OK\r\n")
        assert await answer == b"OK"


async def test_given_a_script_forgotten_when_told_then_its_text_goes_in_its_place() -> None:
    async with linked() as peer:
        answer = peer.link.ask("EVALSHA", "a" * 40, 1, "k", b"x\r\ny")
        await peer.heard.get()
        peer.say(b"-NOSCRIPT no\r\n")
        parts = packed_parts("EVAL", "#!lua\nreturn 1", 1, "k", b"x\r\ny")
        assert await peer.heard.get() == b"*5\r\n" + parts
        peer.say(b":1\r\n")
        assert await answer == 1


@pytest.mark.parametrize("code", ["LOADING", "OOM", "READONLY", "CLUSTERDOWN"])
async def test_given_what_redis_says_of_itself_when_told_then_callers_get_bus_down(
    code: str,
) -> None:
    async with linked() as peer:
        answer = peer.link.ask("SET", "a", "b")
        peer.link.send(("SET", "a", "b"))
        await peer.heard.get()
        peer.say(f"-{code} x\r\n-{code} x\r\n".encode())
        with pytest.raises(BusDown, match=code):
            await answer


async def test_given_a_caller_who_left_when_its_answer_comes_then_nothing_breaks() -> None:
    async with linked() as peer:
        left, stays = peer.link.ask("GET", "a"), peer.link.ask("GET", "b")
        left.cancel()
        await peer.heard.get()
        peer.say(b"+1\r\n+2\r\n")
        assert await stays == b"2"


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        ("WRONGPASS no", BusRefused),
        ("NOPERM no", BusRefused),
        ("ERR what", BusDown),
    ],
)
async def test_given_an_error_while_opening_when_checked_then_it_is_told_apart(
    reply: str, error: type[Exception]
) -> None:
    answer: asyncio.Future[object] = asyncio.get_running_loop().create_future()
    answer.set_exception(hiredis.ReplyError(reply))
    with pytest.raises(error):
        await checked(answer)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"redis_version": "6.2.9"}, BusRefused),
        ({"maxmemory_policy": "allkeys-lru"}, BusRefused),
        ({"loading": "1"}, BusDown),
        ({}, None),
    ],
)
def test_given_a_server_when_looked_at_then_what_breaks_a_promise_is_refused(
    changes: dict[str, str], error: type[Exception] | None
) -> None:
    info = parse_info(b"# Server\r\nredis_version:8.2.3\r\nmaxmemory_policy:noeviction\r\n\r\n")
    if error is None:
        check_server({**info, **changes})
    else:
        with pytest.raises(error):
            check_server({**info, **changes})


def test_given_a_url_when_parsed_then_user_password_and_encryption_are_read() -> None:
    assert Address.parse("redis+cluster://h:1") == Address("h", 1, cluster=True)
    address = Address.parse("rediss://mina:a%2Fb@redis.example:7000/0")
    assert address == Address("redis.example", 7000, "mina", "a/b", tls=True)
    assert address.hello(3) == ("HELLO", 3, "AUTH", "mina", "a/b")
    assert address.tls_context is not None
    assert Address("h", 1).tls_context is None
    assert Address.parse_all("redis+cluster://:p@a:1,b:2/0") == [
        Address("a", 1, password="p", cluster=True),
        Address("b", 2, password="p", cluster=True),
    ]
