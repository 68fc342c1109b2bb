"""Health and metrics. Bodies only on the operations port; the public one answers without."""

import msgspec
from prometheus_client import CollectorRegistry, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from messenger.http.health import Health


class Operations:
    """Routes for operators."""

    def __init__(self, health: Health, registry: CollectorRegistry, ops_port: int) -> None:
        self._health = health
        self._registry = registry
        self._ops_port = ops_port

    @property
    def routes(self) -> list[BaseRoute]:
        return [
            Route("/health/live", self.live),
            Route("/health/ready", self.ready),
            Route("/metrics", self.metrics),
        ]

    def _private(self, request: Request) -> bool:
        server = request.scope.get("server")
        return server is not None and server[1] == self._ops_port

    async def live(self, _request: Request) -> Response:
        """200 while the loop turns."""
        return Response(status_code=200)

    async def ready(self, request: Request) -> Response:
        """503 while starting, draining, lagging, or cut off from the bus for long."""
        ready, state = self._health.report()
        body = msgspec.json.encode(state) if self._private(request) else b""
        return Response(body, status_code=200 if ready else 503, media_type="application/json")

    async def metrics(self, request: Request) -> Response:
        if not self._private(request):
            return Response(status_code=404)
        return Response(generate_latest(self._registry), media_type="text/plain; version=0.0.4")
