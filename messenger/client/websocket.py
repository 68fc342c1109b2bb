"""The client over a real WebSocket: reconnects, refreshes, drives the core. For tests and load.

One task reads; whoever wants something writes. The task is kept and awaited, and a bug in it
surfaces in every later wait.
"""

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Callable
from typing import NoReturn, Unpack

import msgspec
from msgspec import Raw

from messenger.client import link as events
from messenger.client.calls import Call
from messenger.client.connection import Connection, connected
from messenger.client.core import Core
from messenger.client.deadlines import PATIENCE_S, Deadlines
from messenger.client.errors import Json, RpcError
from messenger.client.link import Link
from messenger.client.model import Model
from messenger.client.options import Options, at_once, full_jitter, ignore
from messenger.client.outbox import Sending
from messenger.client.waiting import TIMEOUT_S, Disconnected, Waiting
from messenger.wire.codec import JSON, PROTOBUF
from messenger.wire.codes import CloseCode, ErrorCode
from messenger.wire.messages import (
    NOTHING,
    ConnectResult,
    RefreshRequest,
    RefreshResult,
    Request,
    Result,
    RpcRequest,
    RpcResult,
    SubscribeRequest,
    SubscribeResult,
    UnsubscribeRequest,
)

RECENT_EVENTS = 10_000


class Client:
    """One device. Use `await Client.connect(..)` and `await client.close()`."""

    def __init__(self, url: str, token: str, **options: Unpack[Options]) -> None:
        self.url = url
        self.token = token
        self.binary = options.get("binary", False)
        self.link = Link(PROTOBUF if self.binary else JSON, options.get("name", "peyk"))
        self.core: Core | None = None
        """Present once the server has told whose token this is; never for foreign tokens."""
        self.on_update = options.get("on_update", ignore)
        self.on_event = options.get("on_event", ignore)
        self.recent: deque[events.Event] = deque(maxlen=RECENT_EVENTS)
        self.session: ConnectResult | None = None
        """The newest connect result; None while there is no session."""
        self.closed_with: Disconnected | None = None
        """How the last connection ended."""
        self._get_token = options.get("get_token")
        self._data = options.get("data")
        self._reconnect = options.get("reconnect", True)
        self._deadlines = Deadlines(options.get("patience_s", PATIENCE_S))
        self._spread = options.get("spread", at_once)
        self._connection: Connection | None = None
        self._waiting = Waiting()
        self._core_calls: dict[int, Call] = {}
        self._may_run = asyncio.Event()
        self._may_run.set()
        self._refused: RpcError | None = None
        self._token_is_stale = False
        self._task: asyncio.Task[None] | None = None

    @classmethod
    async def connect(cls, url: str, token: str, **options: Unpack[Options]) -> "Client":
        """A client with a session; raises RpcError or Disconnected where the server says no."""
        client = cls(url, token, **options)
        try:
            await client.start()
        except BaseException:
            await client.close()
            raise
        return client

    async def start(self) -> None:
        """Connect and stay connected; returns with the first session."""
        self._task = asyncio.create_task(self._run(), name="client")
        await self._wait_session()

    @property
    def state(self) -> Model:
        """The model of a signed-in device."""
        return self._core().state

    @property
    def connected(self) -> bool:
        return self.session is not None

    @property
    def ready(self) -> bool:
        """Caught up, nothing unanswered."""
        return self.core is not None and self.core.ready and not self._core_calls

    # Requests

    async def rpc(
        self, method: str, data: Json | None = None, *, timeout_s: float = TIMEOUT_S
    ) -> Json:
        """The result of `method`; raises RpcError, Disconnected or TimeoutError."""
        request = data or {}
        result = await self.request(
            RpcRequest(Raw(msgspec.json.encode(request)), method), timeout_s=timeout_s
        )
        if not isinstance(result, RpcResult):
            raise AssertionError("unreachable: ids match answers to requests")
        answer: Json = msgspec.json.decode(result.data)
        if self.core is not None:
            self.core.on_result(method, request, answer, time.monotonic())
            self._waiting.changed()
        return answer

    async def request(self, request: Request, *, timeout_s: float = TIMEOUT_S) -> Result:
        """The result of any command with an id."""
        id, message = self.link.request(request)
        answer = self._waiting.expect(id)
        try:
            async with asyncio.timeout(timeout_s):
                await self._send(message)
                return await answer
        finally:
            self._waiting.forget(id)

    async def subscribe(
        self, topic: str, *, token: str = "", request: SubscribeRequest | None = None
    ) -> SubscribeResult:
        """Subscribe and stay subscribed over reconnects; raises RpcError."""
        wanted = request or SubscribeRequest(channel=topic, token=token)
        answer = self._waiting.expect_topic(topic)
        async with asyncio.timeout(TIMEOUT_S):
            await self._send(self.link.subscribe(wanted))
            return await answer

    async def unsubscribe(self, topic: str) -> None:
        self.link.forget(topic)
        if self.core is not None and topic.startswith("chat:"):
            self.core.close_big(topic.removeprefix("chat:"))
        await self.request(UnsubscribeRequest(topic))

    async def send(
        self, chat: str, text: str, random_id: str | None = None, **more: object
    ) -> Sending:
        """Queue a message that is repeated until it is answered; does not wait for that."""
        sending = self._core().send(chat, text, random_id, **more)
        with contextlib.suppress(Disconnected):  # it is queued: the next connection sends it
            await self._flush()
        return sending

    async def send_raw(self, message: bytes) -> None:
        """One frame as it is: for what a correct client never sends."""
        await self._send(message)

    # Waiting

    async def wait_until(self, condition: Callable[[], bool], timeout_s: float = TIMEOUT_S) -> None:
        """Wait for something this client can see; evaluated after each frame."""

        def holds() -> bool:
            self._raise_bug()
            return condition()

        await self._waiting.until(holds, timeout_s)

    async def wait_closed(self, timeout_s: float = TIMEOUT_S) -> Disconnected:
        """Wait for the end of the present connection."""
        await self.wait_until(lambda: self.session is None, timeout_s)
        return self.closed_with or Disconnected(None, "never connected")

    # Ends

    def cut(self) -> None:
        """Lose the connection as a dead phone does; stay away until `resume`."""
        self._may_run.clear()
        if self._connection is not None:
            self._connection.abort()

    async def resume(self, timeout_s: float = TIMEOUT_S) -> None:
        """Come back after `cut`; returns with a session."""
        await self.wait_until(lambda: self.session is None, timeout_s)
        self.closed_with = None
        self._may_run.set()
        await self._wait_session(timeout_s)

    async def close(self) -> None:
        """Close and stop; a bug of the reading task is raised here."""
        self._reconnect = False
        self._may_run.set()
        if self._connection is not None:
            await self._connection.close()
        if self._task is not None:
            task, self._task = self._task, None
            if self._connection is None:
                task.cancel()
            await asyncio.wait([task], timeout=TIMEOUT_S)
            if not task.cancelled() and task.done():
                task.result()

    # The reading task

    async def _run(self) -> None:
        try:
            await self._stay_connected()
        finally:
            self._waiting.changed()  # who waits must see that nothing more will come

    async def _stay_connected(self) -> None:
        attempt = 0
        while True:
            await self._may_run.wait()
            try:
                await self._live()
            except Disconnected as ended:
                self.closed_with = ended
            attempt = 0 if self.session is not None else attempt + 1
            self._ended()
            if self._refused is not None or self.closed_with.final or not self._reconnect:
                return
            if self._may_run.is_set():
                await asyncio.sleep(full_jitter(attempt))

    async def _live(self) -> NoReturn:
        """One connection from its handshake to its end."""
        if self._token_is_stale and self._get_token is not None:
            self.token, self._token_is_stale = await self._get_token(), False
        data = NOTHING if self._data is None else Raw(msgspec.json.encode(self._data))
        async with connected(self.url, binary=self.binary) as connection:
            self._connection = connection
            self._deadlines.opened(time.monotonic(), TIMEOUT_S)
            await connection.send(self.link.connect(self.token, data))
            await self._read(connection)

    async def _read(self, connection: Connection) -> NoReturn:
        while self._refused is None:
            due = self.core.due() if self.core is not None else None
            data = await connection.receive(self._deadlines.next(due, time.monotonic()))
            if data is None and time.monotonic() >= self._deadlines.silent_at:
                connection.abort()  # whoever hangs answers no close frame either
                raise Disconnected(None, "no ping")
            for event in self.link.receive(data) if data is not None else ():
                self._handle(event)
            await self._tick()
            await self._flush()
            self._waiting.changed()
        raise Disconnected(None, self._refused.message)

    async def _tick(self) -> None:
        now = time.monotonic()
        if self.core is not None:
            self.core.tick(now)
        if self._deadlines.refresh_due(now) and self._get_token is not None:
            self.token = await self._get_token()
            await self._send(self.link.request(RefreshRequest(self.token))[1])

    def _handle(self, event: events.Event) -> None:
        self.recent.append(event)
        now = time.monotonic()
        if isinstance(event, events.Published):
            self._published(event, now)
        elif isinstance(event, events.Answered):
            self._answered(event, now)
        elif isinstance(event, events.Pinged):
            self._deadlines.expect_ping(self.session.ping if self.session else 0, now)
        elif isinstance(event, events.Connected):
            self._connected(event.result, now)
        elif isinstance(event, events.ConnectFailed):
            self._connect_failed(event.error)
        elif isinstance(event, events.Subscribed):
            self._subscribed(event)
        elif isinstance(event, events.SubscribeFailed):
            self._settle_subscribe(event.topic, event.error)
        self.on_event(event)

    def _connected(self, result: ConnectResult, now: float) -> None:
        self.session = result
        self._deadlines.expect_ping(result.ping, now)
        self._deadlines.expires(result.ttl if result.expires else None, now)
        who: Json = msgspec.json.decode(result.data) if len(bytes(result.data)) else {}
        if "account" not in who:
            return
        if self.core is None:
            self.core = Core(
                who["account"],
                random_id=lambda: secrets.randbits(62) + 1,
                spread=self._spread,
                on_update=lambda update: self.on_update(update),
            )
        personal = result.subs.get(f"user:{who['account']}")
        recovered = personal is not None and personal.was_recovering and personal.recovered
        self.core.on_connected(recovered=recovered, now=now)

    def _connect_failed(self, error: RpcError) -> None:
        self._token_is_stale = error.code == ErrorCode.TOKEN_EXPIRED
        renewable = self._token_is_stale and self._get_token is not None
        if not error.temporary and not renewable:
            self._refused = error
        elif self._connection is not None:
            self._connection.abort()

    def _subscribed(self, event: events.Subscribed) -> None:
        if self.core is not None and event.topic.startswith("chat:"):
            chat = event.topic.removeprefix("chat:")
            if chat in self.core.state.chats:
                self.core.open_big(chat)
        self._settle_subscribe(event.topic, event.result)

    def _settle_subscribe(self, topic: str, answer: SubscribeResult | RpcError) -> None:
        if isinstance(answer, RpcError):
            self.link.forget(topic)
        self._waiting.settle_topic(topic, answer)

    def _published(self, event: events.Published, now: float) -> None:
        product = event.topic.startswith(("user:", "eph:", "chat:"))
        if self.core is not None and product:
            self.core.on_publication(msgspec.json.decode(event.publication.data), now)

    def _answered(self, event: events.Answered, now: float) -> None:
        if isinstance(event.answer, RefreshResult):
            self._deadlines.expires(event.answer.ttl if event.answer.expires else None, now)
        if (call := self._core_calls.pop(event.id, None)) is not None:
            if self.core is not None:
                self.core.on_answer(call, _answer_of(event.answer), now)
            return
        self._waiting.settle(event.id, event.answer)

    async def _flush(self) -> None:
        """Send what the protocol and the core want sent."""
        while self.link.out:
            await self._send(self.link.out.pop(0))
        if self.core is None or self.session is None:
            return
        for call in self.core.calls.ready(time.monotonic()):
            data = Raw(msgspec.json.encode(call.data))
            id, message = self.link.request(RpcRequest(data, call.method))
            self._core_calls[id] = call
            await self._send(message)

    async def _send(self, message: bytes) -> None:
        if self._connection is None:
            raise self.closed_with or Disconnected(None, "not connected")
        await self._connection.send(message)

    def _ended(self) -> None:
        """The connection is gone: nobody waits for its answers any more."""
        ended = self.closed_with or Disconnected(None, "connection lost")
        if ended.code == CloseCode.STATE_INVALIDATED:
            self.link.invalidate()
            self._token_is_stale = True
        self.session = self._connection = None
        self._core_calls.clear()
        if self.core is not None:
            self.core.on_disconnected()
        self._waiting.end(ended)
        self._waiting.changed()

    async def _wait_session(self, timeout_s: float = TIMEOUT_S) -> None:
        def settled() -> bool:
            final = self.closed_with is not None and self.closed_with.final
            stopped = self._task is not None and self._task.done()
            return self.connected or self._refused is not None or final or stopped

        await self.wait_until(settled, timeout_s)
        if self._refused is not None:
            raise self._refused
        if not self.connected:
            raise self.closed_with or Disconnected(None, "not connected")

    def _core(self) -> Core:
        if self.core is None:
            raise Disconnected(None, "no product session")
        return self.core

    def _raise_bug(self) -> None:
        if self._task is not None and self._task.done() and not self._task.cancelled():
            error = self._task.exception()
            if error is not None:
                raise error


def _answer_of(answer: Result | RpcError) -> Json | RpcError:
    if isinstance(answer, RpcError):
        return answer
    if not isinstance(answer, RpcResult):
        raise AssertionError("unreachable: the core makes rpcs only")
    decoded: Json = msgspec.json.decode(answer.data)
    return decoded
