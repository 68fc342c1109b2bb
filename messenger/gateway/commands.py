"""The commands of a session, each to what answers it; an rpc goes to the catalogue.

connect -> connecting.py, subscriptions and topics -> subscribing.py, rpc -> messenger/rpc.py.
What must be awaited holds up the session's later commands, except an rpc.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from messenger.bus.link import BusDown
from messenger.db.engine import StoreDown
from messenger.feature import Refused
from messenger.gateway.connecting import Connecting
from messenger.gateway.session import Closed, Session
from messenger.gateway.subscribing import Subscribing
from messenger.gateway.topics import Topics
from messenger.rpc import Rpcs
from messenger.wire.codes import CloseCode, ErrorCode
from messenger.wire.messages import (
    Command,
    ConnectRequest,
    HistoryRequest,
    PingRequest,
    PresenceRequest,
    PresenceStatsRequest,
    PublishRequest,
    RefreshRequest,
    RpcRequest,
    SendRequest,
    SubRefreshRequest,
    SubscribeRequest,
    UnsubscribeRequest,
)

Waits = Coroutine[Any, Any, None] | None
Spawn = Callable[[Coroutine[Any, Any, None], str], None]
Method = Callable[[Session, int, Any], Waits]


class Commands:
    """Dispatch by the type of the request."""

    def __init__(self, rpcs: Rpcs, spawn: Spawn, methods: dict[type, Method]) -> None:
        """`methods`: by request type, see below."""
        self._rpcs = rpcs
        self._spawn = spawn
        self._methods: dict[type, Method] = {
            **methods,
            RpcRequest: self._rpc,
            PingRequest: _ping,
            SendRequest: _send,
        }

    def handle(self, session: Session, command: Command) -> None:
        """Do what the command says, or start it; raises `Closed` for a violation."""
        request = command.request
        kind = type(request)
        if request is None or (not command.id and kind is not SendRequest):
            session.on_pong()
            return
        if session.connected is (kind is ConnectRequest):  # one connect, before anything else
            raise Closed(CloseCode.BAD_REQUEST)
        try:
            waits = self._methods[kind](session, command.id, request)
        except Refused as refused:
            session.error(command.id, refused.code, refused.message)
            return
        if waits is not None:
            session.busy = True
            self._spawn(_in_order(session, command.id, waits), "command")

    def _rpc(self, session: Session, id: int, request: RpcRequest) -> None:
        """Rpcs may answer late and out of order; at most `in_flight` of a session at a time."""
        session.in_flight += 1

        def reply(answer: bytes | Refused) -> None:
            session.in_flight -= 1
            if isinstance(answer, Refused):
                session.error(id, answer.code, answer.message)
            elif session.answers:
                codec = session.codec
                session.connection.write_reply(codec.frame(codec.rpc(id, answer)))
            if session.pending:
                session.process()

        waits = self._rpcs.call(
            request.method, bytes(request.data), session.caller, reply, asked=id
        )
        if waits is not None:
            self._spawn(waits, request.method)


async def _in_order(session: Session, id: int, waits: Coroutine[Any, Any, None]) -> None:
    try:
        await waits
    except Refused as refused:
        session.error(id, refused.code, refused.message)
    except Closed as closed:
        session.close(closed.code)
    except (BusDown, StoreDown):  # a state of the world: SDKs repeat what is temporary
        session.error(id, ErrorCode.TOO_MANY_REQUESTS)
        raise
    except Exception:
        session.error(id, ErrorCode.INTERNAL)
        raise
    finally:
        session.release()


def _ping(_: Session, __: int, ___: PingRequest) -> None:
    raise Refused(ErrorCode.NOT_AVAILABLE)  # version 2 pings by empty commands


def _send(_: Session, __: int, ___: SendRequest) -> None:
    raise Closed(CloseCode.NOT_AVAILABLE)  # the product never uses it


def methods(connecting: Connecting, subscribing: Subscribing, topics: Topics) -> dict[type, Method]:
    """Which of the three answers which request."""
    return {
        ConnectRequest: connecting.connect,
        RefreshRequest: connecting.refresh,
        SubscribeRequest: subscribing.subscribe,
        UnsubscribeRequest: subscribing.unsubscribe,
        SubRefreshRequest: subscribing.sub_refresh,
        PublishRequest: topics.publish,
        PresenceRequest: topics.presence,
        PresenceStatsRequest: topics.presence_stats,
        HistoryRequest: topics.history,
    }
