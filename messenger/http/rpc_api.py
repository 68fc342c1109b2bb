"""POST /rpc/<method>: the same handlers as over the socket, and the ones that make tokens.

200 also for a refusal (`{"error":..}`): the call went through, the answer is no. 401 is for the
token alone, so that clients know when to refresh.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

import msgspec
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from messenger.bus.link import BusDown
from messenger.feature import Caller, Refused
from messenger.gateway.admission import retry_after_s
from messenger.gateway.proxies import client_address, parse_networks
from messenger.http.security import BodyRefusedError, read_body
from messenger.ids import AccountId, DeviceId
from messenger.limits import Limits
from messenger.rpc import Rpcs
from messenger.tokens import ConnectionTokens, TokenExpired, TokenInvalid
from messenger.tracing import Asked, from_traceparent
from messenger.wire.codes import ErrorCode

REVOKED_CACHE_S = 5.0
REVOKED_CACHE_SIZE = 10_000
REPLY_TIMEOUT_S = 15.0  # handlers give up after 10, commits after 3
RETRY_AFTER_MS = 1_000
JSON = "application/json"
TRACE_HEADER = "x-trace-id"  # what a person who complains can tell us

IsRevoked = Callable[[AccountId, DeviceId], Awaitable[bool]]


class RpcApi:
    """The HTTP door to the catalogue."""

    def __init__(
        self,
        rpcs: Rpcs,
        tokens: ConnectionTokens,
        limits: Limits,
        is_revoked: IsRevoked,
        trusted_proxies: tuple[str, ...],
    ) -> None:
        self._rpcs = rpcs
        self._tokens = tokens
        self._limits = limits
        self._is_revoked = is_revoked
        self._proxies = parse_networks(trusted_proxies)
        self._revoked: dict[tuple[AccountId, DeviceId], tuple[float, bool]] = {}

    @property
    def routes(self) -> list[BaseRoute]:
        return [Route("/rpc/{method}", self.call, methods=["POST"])]

    async def call(self, request: Request) -> Response:
        """Answer one rpc."""
        method = request.path_params["method"]
        peer = request.client.host if request.client is not None else ""
        forwarded_for = ",".join(request.headers.getlist("x-forwarded-for"))
        address = client_address(peer, forwarded_for, self._proxies)
        if not self._limits.admit(address):
            return _not_now()
        try:
            body = await read_body(request)
        except BodyRefusedError as refused:
            large = refused.status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE
            code = ErrorCode.TOO_LARGE if large else ErrorCode.TIMEOUT
            return _error(code, status=refused.status)
        try:
            caller = await self._caller(request, address)
        except TokenExpired:
            return _error(ErrorCode.TOKEN_EXPIRED, status=401)
        except TokenInvalid:
            return _error(ErrorCode.UNAUTHORIZED, status=401)
        except BusDown:  # nobody knows whether the device is revoked
            return _refused(Refused(ErrorCode.OVERLOADED, {"retry_after_ms": RETRY_AFTER_MS}))
        asked = from_traceparent(request.headers.get("traceparent", ""))
        answer = await self._answer(method, body, caller, asked)
        traced = {TRACE_HEADER: asked.id}
        if not isinstance(answer, Refused):
            return Response(b'{"result":%b}' % answer, media_type=JSON, headers=traced)
        if answer.code is ErrorCode.METHOD_NOT_FOUND:
            return _refused(answer, status=404, headers=traced)
        if answer.code is ErrorCode.UNAUTHORIZED:
            return _refused(answer, status=401, headers=traced)
        return _refused(answer, headers=traced)

    async def _answer(
        self, method: str, body: bytes, caller: Caller, asked: Asked
    ) -> bytes | Refused:
        settled: asyncio.Future[bytes | Refused] = asyncio.get_running_loop().create_future()

        def reply(answer: bytes | Refused) -> None:
            if not settled.done():
                settled.set_result(answer)

        waits = self._rpcs.call(method, body, caller, reply, http=True, asked=asked)
        if waits is not None:
            await waits
        try:
            async with asyncio.timeout(REPLY_TIMEOUT_S):
                return await settled
        except TimeoutError:
            return Refused(ErrorCode.TIMEOUT)

    async def _caller(self, request: Request, address: str) -> Caller:
        """Who asks; account 0 without a token."""
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if not token:
            return Caller(AccountId(0), DeviceId(0), address)
        if scheme.lower() != "bearer":
            raise TokenInvalid("not a bearer token")
        claims = self._tokens.verify(token)
        if not claims.device or not claims.user.isdecimal():
            raise TokenInvalid("not a token of a device")
        account, device = AccountId(int(claims.user)), DeviceId(int(claims.device))
        if await self._is_revoked_cached(account, device):
            raise TokenInvalid("device revoked")
        return Caller(account, device, address)

    async def _is_revoked_cached(self, account: AccountId, device: DeviceId) -> bool:
        now = time.monotonic()
        known = self._revoked.get((account, device))
        if known is not None and now - known[0] < REVOKED_CACHE_S:
            return known[1]
        revoked = await self._is_revoked(account, device)
        if len(self._revoked) >= REVOKED_CACHE_SIZE:
            self._revoked.clear()  # refilled by one Redis read each
        self._revoked[account, device] = now, revoked
        return revoked


def _not_now() -> Response:
    """This address asks too much: before its body is read."""
    answer = _error(ErrorCode.TOO_MANY_REQUESTS, status=503, temporary=True)
    answer.headers["Retry-After"] = str(retry_after_s(random.random()))  # noqa: S311 - spreads load
    return answer


def _refused(
    refused: Refused, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    answer = _error(refused.code, refused.message, status=status, temporary=refused.temporary)
    answer.headers.update(headers or {})
    return answer


def _error(
    code: ErrorCode, message: str | None = None, *, status: int = 200, temporary: bool = False
) -> Response:
    error: dict[str, object] = {"code": int(code), "message": message or code.message}
    if temporary:
        error["temporary"] = True
    return Response(msgspec.json.encode({"error": error}), status_code=status, media_type=JSON)
