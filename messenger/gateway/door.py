"""What a connection sees above it: the session it carries, and the node's gateway."""

from typing import TYPE_CHECKING, Protocol

from messenger.gateway.handshake import Upgrade
from messenger.gateway.turn import Turn

if TYPE_CHECKING:
    from messenger.gateway.connection import GatewayProtocol


class ConnectionHandler(Protocol):
    """What a connection calls; synchronous, never awaits."""

    def on_text(self, data: bytes) -> None:
        """A whole message; the codec checks that it is UTF-8."""

    def on_binary(self, data: bytes) -> None: ...

    def on_pong(self) -> None: ...

    def on_lagging(self) -> None:
        """The peer reads too slowly: more than the high-water mark waits."""

    def on_drained(self) -> None:
        """Below the low-water mark again."""

    def on_closed(self, code: int | None) -> None:
        """Exactly once; drops every reference."""

    def leave(self) -> None:
        """Close with 3001: the node stops."""

    def cut_off(self) -> None:
        """Close with 3008: what waits for the peer is beyond its bound."""


class Door(Protocol):
    """What the node's gateway is to its connections."""

    turn: Turn
    frame_bytes: int
    write_high: int
    write_low: int
    lag_bytes: int

    def open(self, connection: "GatewayProtocol", asked: Upgrade) -> ConnectionHandler:
        """Take the connection in, or raise `Refusal`."""
        ...

    def leave(self, handler: ConnectionHandler) -> None:
        """Let it go when its turn comes."""
        ...
