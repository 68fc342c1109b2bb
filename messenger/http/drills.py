"""What load tests and operators ask of one node: its ledger, and a drill. Operations port only."""

import hmac
import time
from collections.abc import Callable, Mapping
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from messenger.gateway.drill import DrillRunningError
from messenger.gateway.gateway import Gateway
from messenger.http.security import BodyRefusedError, read_body
from messenger.metrics import Metrics
from messenger.settings import Settings

JSON = "application/json"
WINDOW_S = 10.0
WINDOW_MOST_S = 600.0


class DropOrder(Struct, frozen=True, forbid_unknown_fields=True):
    """`POST /admin/drill`."""

    share: Annotated[float, Meta(gt=0, le=1)]
    """Of the sessions of this node."""
    window_s: Annotated[float, Meta(ge=0, le=WINDOW_MOST_S)] = WINDOW_S


class Ledger(Struct, frozen=True):
    """Sends of this node since its start.

    accepted = committed + repeated + refused + late + waiting; published = committed. `delivered`
    counts frames of publications to sessions here, whatever node their messages came through.
    """

    node: str
    accepted: int
    committed: int
    repeated: int
    refused: int
    late: int
    """Answered 1004: they may be committed."""
    waiting: int
    published: int
    delivered: int


class Drills:
    """In production the ledger is off and a drill needs the api key; without a key it is off."""

    def __init__(
        self,
        settings: Settings,
        gateway: Gateway,
        node: str,
        waiting: Callable[[], int],
        metrics: Metrics,
    ) -> None:
        self._settings = settings
        self._gateway = gateway
        self._node = node
        self._waiting = waiting
        self._metrics = metrics

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            Route("/ledger", self.ledger),
            Route("/admin/drill", self.drill, methods=["POST"]),
        ]

    async def ledger(self, request: Request) -> Response:
        """How many sends went how far."""
        if not self._private(request) or self._settings.env != "development":
            return Response(status_code=404)
        return _answer(self.counted())

    def counted(self) -> Ledger:
        sends = self._metrics.sends
        outcomes = ("accepted", "committed", "repeated", "refused", "late")
        return Ledger(
            node=self._node,
            waiting=self._waiting(),
            published=self._metrics.messages_published.value,
            delivered=self._metrics.frames.value,
            **{outcome: sends.labels(outcome).value for outcome in outcomes},
        )

    async def drill(self, request: Request) -> Response:
        """Close a share of the sessions over a window; they come back by themselves."""
        if not self._private(request) or not self._offered:
            return Response(status_code=404)
        if not self._may(request):
            return _problem("needs the header X-API-Key", 401)
        if request.headers.get("content-type", "").partition(";")[0] != JSON:
            return _problem(f"Content-Type must be {JSON}", 415)  # no page in a browser can send it
        try:
            order = msgspec.json.decode(await read_body(request), type=DropOrder)
            dropped = self._gateway.drop(order.share, order.window_s, time.monotonic())
        except BodyRefusedError as refused:
            return Response(status_code=refused.status)
        except msgspec.DecodeError as error:
            return _problem(str(error), 400)
        except DrillRunningError:
            return _problem("a drill is under way on this node", 409)
        return _answer(dropped)

    def _private(self, request: Request) -> bool:
        server = request.scope.get("server")
        return server is not None and server[1] == self._settings.ops_port

    @property
    def _offered(self) -> bool:
        return self._settings.env == "development" or bool(self._settings.api_key)

    def _may(self, request: Request) -> bool:
        if self._settings.env == "development":
            return True
        given = request.headers.get("x-api-key", "")
        return hmac.compare_digest(given.encode(), self._settings.api_key.encode())


def _answer(body: Struct | Mapping[str, str], status: int = 200) -> Response:
    return Response(msgspec.json.encode(body), status_code=status, media_type=JSON)


def _problem(why: str, status: int) -> Response:
    return _answer({"error": why}, status)
