"""The ledger and the drill of one node: what they count, close and refuse."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import msgspec
import pytest

from messenger.http.drills import Drills
from messenger.settings import Settings
from tests.support.line import joined
from tests.support.platform import Platform, running

FORCED = (3011, "force reconnect")


@pytest.fixture
async def node(settings: Settings) -> AsyncIterator[Platform]:
    async with running(settings) as platform:
        yield platform


@pytest.fixture
async def web(node: Platform) -> AsyncIterator[httpx.AsyncClient]:
    """Asks on the operations port."""
    base = f"http://127.0.0.1:{node.settings.ops_port}"
    async with httpx.AsyncClient(base_url=base) as web:
        yield web


async def test_given_sends_when_the_ledger_is_read_then_nothing_is_missing(
    node: Platform, web: httpx.AsyncClient
) -> None:
    mina, reza = await node.signs_up("Mina"), await node.signs_up("Reza")
    opened = await node.post("chats.open_direct", {"account": reza.account}, mina.token)
    message = {"chat": opened["chat"]["id"], "random_id": "7", "text": "salaam"}
    async with joined(node.ws_url, reza.token) as line:
        for _ in range(2):
            await node.post("messages.send", message, mina.token)
        with pytest.raises(Exception, match="NO_CHAT"):
            await node.post("messages.send", message | {"chat": "5"}, mina.token)
        while "message.new" not in [push["pub"]["data"]["t"] for push in await line.hears()]:
            pass

        ledger = (await web.get("/ledger")).json()

    assert (ledger["accepted"], ledger["committed"], ledger["published"]) == (3, 1, 1)
    assert (ledger["repeated"], ledger["refused"], ledger["late"]) == (1, 1, 0)
    assert ledger["waiting"] == 0
    assert ledger["delivered"] >= 1
    assert ledger["node"] == node.node.name


async def test_given_sessions_when_half_are_dropped_then_half_get_a_code_to_come_back_with(
    node: Platform, web: httpx.AsyncClient
) -> None:
    people = [await node.signs_up("Mina") for _ in range(6)]
    async with AsyncExitStack() as stack:
        lines = [await stack.enter_async_context(joined(node.ws_url, one.token)) for one in people]
        answer = await web.post("/admin/drill", json={"share": 0.5, "window_s": 0.3})
        assert answer.json() == {"sessions": 6, "closing": 3, "window_s": 0.3, "code": 3011}
        again = await web.post("/admin/drill", json={"share": 0.5})
        assert (again.status_code, again.json()["error"]) == (
            409,
            "a drill is under way on this node",
        )
        ends = [asyncio.ensure_future(line.close_code()) for line in lines]
        for _ in range(3):
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            done = next(end for end in ends if end.done())
            assert done.result() == FORCED
            ends.remove(done)
        assert node.node.gateway.sessions == 3
        for end in ends:
            end.cancel()
        await asyncio.wait(ends)
    assert (await web.post("/admin/drill", json={"share": 1})).json()["closing"] == 0


@pytest.mark.parametrize(
    "body",
    [{}, {"share": 0}, {"share": 1.1}, {"share": 0.5, "window_s": 601}, {"share": 0.5, "x": 1}],
)
async def test_given_an_order_out_of_bounds_when_sent_then_400_says_which(
    web: httpx.AsyncClient, body: dict[str, float]
) -> None:
    answer = await web.post("/admin/drill", json=body)
    assert answer.status_code == 400
    assert "`" in answer.json()["error"]


async def test_given_a_page_in_a_browser_or_the_public_port_when_they_ask_then_neither_drills(
    node: Platform, web: httpx.AsyncClient
) -> None:
    form = await web.post("/admin/drill", content=b'{"share":1}')
    assert form.status_code == 415
    async with httpx.AsyncClient(base_url=node.url) as public:
        assert (await public.post("/admin/drill", json={"share": 1})).status_code == 404
        assert (await public.get("/ledger")).status_code == 404


@pytest.mark.parametrize(
    ("api_key", "given", "status"),
    [("", "", 404), ("k" * 32, "", 401), ("k" * 32, "k" * 31, 401), ("k" * 32, "k" * 32, 200)],
)
async def test_given_production_when_a_drill_is_ordered_then_only_with_the_key(
    node: Platform, web: httpx.AsyncClient, api_key: str, given: str, status: int
) -> None:
    strict = msgspec.structs.replace(node.settings, env="production", api_key=api_key)
    drills = Drills(strict, node.node.gateway, "n", lambda: 0, node.node.metrics)
    replaced = [route for route in node.node.app.routes if "drill" not in route.path]  # type: ignore[attr-defined]
    node.node.app.router.routes = [
        *(route for route in replaced if route.path != "/ledger"),  # type: ignore[attr-defined]
        *drills.routes,
    ]

    answer = await web.post("/admin/drill", json={"share": 1}, headers={"X-API-Key": given})

    assert answer.status_code == status
    assert (await web.get("/ledger")).status_code == 404
