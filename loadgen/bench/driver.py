"""The load client of the benchmarks: raw frames over picows, callbacks only.

Hot path: no task, no decoding, no dictionary per frame; 6-8 us a round trip, so that on two cores
the server is what is measured. It understands just enough of the protocol: the connect reply,
pings, and where a benchmark's own marks stand in a frame.
"""

import asyncio
import socket
from collections.abc import Callable, Iterable, Sequence

import msgspec
from msgspec import Struct
from picows import WSError, WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

CONNECT_TIMEOUT_S = 20.0
SOURCES = 8
PER_SOURCE = 25_000  # of the ephemeral ports of one loopback address

Heard = Callable[["Session", bytes], None]
"""Called with each message that is no ping and no connect reply. It must not raise."""


class Position(Struct, frozen=True, gc=False):
    """How far a session has heard a topic."""

    topic: str
    epoch: str
    offset: int


class LoadError(Exception):
    """The driver met something it cannot measure with."""


class Session(WSListener):
    """One socket; after `ready` everything goes to `heard`."""

    __slots__ = ("_ready", "closed", "heard", "reply", "tag", "transport")

    def __init__(self, heard: Heard, tag: int) -> None:
        self.heard = heard
        self.tag = tag
        """The benchmark's own number of this session."""
        self.reply = b""
        """To the connect command."""
        self.transport: WSTransport | None = None
        self.closed: int | None = None
        """The close code, once the server or the net ended it."""
        self._ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def send(self, message: bytes) -> None:
        """Nothing happens once it is closed: what was not sent gets no ack."""
        if self.transport is not None and self.closed is None:
            self.transport.send(WSMsgType.TEXT, message)

    def on_ws_connected(self, transport: WSTransport) -> None:
        self.transport = transport

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        if frame.msg_type is WSMsgType.CLOSE:
            self.closed = int.from_bytes(frame.get_payload_as_bytes()[:2])
            transport.disconnect()
            return
        data = frame.get_payload_as_bytes()
        if data == b"{}":
            transport.send(WSMsgType.TEXT, b"{}")
        elif b"\n" in data:
            for message in data.split(b"\n"):
                self._message(message)
        else:
            self._message(data)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        self.closed = self.closed or 1006
        if not self._ready.done():
            self._ready.set_exception(LoadError(f"closed with {self.closed} before the reply"))
            self._ready.exception()  # nobody waits for it where the upgrade failed elsewhere

    async def ready(self) -> None:
        """Returns with the connect reply."""
        async with asyncio.timeout(CONNECT_TIMEOUT_S):
            await self._ready

    def _message(self, data: bytes) -> None:
        if self._ready.done():
            self.heard(self, data)
        elif b'"error"' in data:
            self._ready.set_exception(LoadError(data[:300].decode(errors="replace")))
        else:
            self.reply = data
            self._ready.set_result(None)


class Driver:
    """All sessions of one benchmark."""

    def __init__(self, host: str, port: int) -> None:
        self._url = f"ws://{host}:{port}/connection/websocket"
        self.host = host
        self._opened = 0
        self.sessions: list[Session] = []

    async def connect(
        self, token: str, heard: Heard, tag: int | None = None, back: Position | None = None
    ) -> Session:
        """A session with its connect reply; it is numbered in order unless `tag` says."""
        session = Session(heard, len(self.sessions) if tag is None else tag)
        self.sessions.append(session)
        await self.open(session)
        session.send(connect_command(token, back))
        await session.ready()
        return session

    async def open(self, session: Session) -> None:
        """TCP and upgrade."""
        # Beyond one address' ports the next loopback address is the source; not before, because
        # the kernel's search for a free port to bind costs more than the whole login.
        self._opened += 1
        block = self._opened // PER_SOURCE % SOURCES
        source = (f"127.0.0.{1 + block}", 0) if block else None
        try:
            await ws_connect(
                lambda: session,
                self._url,
                websocket_handshake_timeout=CONNECT_TIMEOUT_S,
                max_frame_size=1 << 20,
                read_buffer_init_size=2_048,
                use_aiofastnet=False,
                local_addr=source,
                family=socket.AF_INET,
            )
        except WSError as error:
            raise LoadError(f"no upgrade: {error}") from error

    async def connect_all(
        self,
        tokens: Sequence[str],
        heard: Heard,
        at_once: int = 50,
        tags: Iterable[int] | None = None,
    ) -> list[Session]:
        """Sessions for all tokens, in their order."""
        first = len(self.sessions)
        numbers = tags if tags is not None else range(first, first + len(tokens))
        waiting = iter(enumerate(zip(tokens, numbers, strict=True)))
        made: dict[int, Session] = {}

        async def worker() -> None:
            for place, (token, tag) in waiting:
                made[place] = await self.connect(token, heard, tag)

        async with asyncio.TaskGroup() as tasks:
            for _ in range(min(at_once, len(tokens))):
                tasks.create_task(worker())
        return [made[place] for place in range(len(tokens))]

    def check_open(self) -> None:
        """Raise if the server closed any session."""
        closed = [session.closed for session in self.sessions if session.closed is not None]
        if closed:
            raise LoadError(f"{len(closed)} sessions were closed, the first with {closed[0]}")

    async def close(self) -> None:
        for session in self.sessions:
            if session.transport is not None:
                session.transport.disconnect(graceful=False)
        self.sessions.clear()
        await asyncio.sleep(0)


def connect_command(token: str, back: Position | None = None) -> bytes:
    """As an SDK sends it; `back`: it comes back and asks for what it missed."""
    if back is None:
        return b'{"id":1,"connect":{"token":"%b","name":"load"}}' % token.encode()
    sub = b'"%b":{"recover":true,"epoch":"%b","offset":%d}' % (
        back.topic.encode(), back.epoch.encode(), back.offset,
    )  # fmt: skip
    return b'{"id":1,"connect":{"token":"%b","name":"load","subs":{%b}}}' % (token.encode(), sub)


def position(reply: bytes, account: int) -> Position:
    """Where the account's own topic stood at a connect reply."""
    topic = f"user:{account}"
    sub = msgspec.json.decode(reply)["connect"]["subs"][topic]
    return Position(topic, sub.get("epoch", ""), sub.get("offset", 0))


def recovered(reply: bytes, account: int) -> list[bytes] | None:
    """The updates that a connect reply brings back; None where it could not be whole."""
    sub = msgspec.json.decode(reply, type=_Reply).connect.subs[f"user:{account}"]
    if not sub.recovered:
        return None
    return [bytes(publication.data) for publication in sub.publications]


class _Publication(Struct):
    data: msgspec.Raw


class _Sub(Struct):
    recovered: bool = False
    publications: list[_Publication] = []


class _Connect(Struct):
    subs: dict[str, _Sub]


class _Reply(Struct):
    connect: _Connect


def rpc(id: int, method: str, data: object) -> bytes:
    """Any rpc, for what is not hot."""
    return b'{"id":%d,"rpc":{"method":"%b","data":%b}}' % (
        id,
        method.encode(),
        msgspec.json.encode(data),
    )
