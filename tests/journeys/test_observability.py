"""What operators see: every metric moves with traffic, no line tells what people wrote."""

import gc
import io
import logging
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from messenger.client.errors import RpcError
from messenger.client.websocket import Client
from messenger.logs import configure
from messenger.metrics import Metrics
from messenger.settings import Settings
from messenger.wire.codes import CloseCode
from tests.architecture.tree import PACKAGES, files
from tests.support.line import joined
from tests.support.people import until
from tests.support.platform import Platform, a_phone, connected, running

WORD = f"canary{secrets.token_hex(6)}"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"

FAULTS_ONLY = {
    *("lagging_sessions", "outbox_bytes", "upgrades_refused", "rpc_bugs", "limited"),
    *("limits_open", "commit_retries", "commit_queue", "repaired_heads", "shed", "ladder_step"),
    *("bus_reconnects", "bus_errors", "bus_queue_bytes", "db_pool_in_use", "purged_rows"),
    "purge_rounds",
    "purge_skipped",
}
"""Rest at zero while all is well and young; journeys of faults, and time, move them."""


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """Everything that the platform and its libraries log, down to debug."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    stream = io.StringIO()
    configure("n1", "debug", stream)
    root.setLevel(logging.DEBUG)
    yield stream
    root.handlers[:] = before
    root.setLevel(level)
    for package in PACKAGES:
        logging.getLogger(package).setLevel(logging.NOTSET)


@pytest.fixture
async def own(settings: Settings) -> AsyncIterator[Platform]:
    """A node whose counts begin at zero."""
    async with running(settings) as platform:
        yield platform


async def series(platform: Platform) -> dict[str, float]:
    """Each line of `/metrics` without its labels, summed."""
    async with httpx.AsyncClient() as web:
        answer = await web.get(f"http://127.0.0.1:{platform.settings.ops_port}/metrics")
    found: dict[str, float] = {}
    for line in answer.text.splitlines():
        if not line.startswith("#"):
            name, value = line.rsplit(" ", 1)
            name = name.partition("{")[0]
            found[name] = found.get(name, 0.0) + float(value)
    return found


@asynccontextmanager
async def talk(platform: Platform) -> AsyncIterator[None]:
    """Two people write, read, leave and come back."""
    mina = await connected(platform, await platform.signs_up("مینا"))
    reza = await connected(platform, await platform.signs_up("رضا"))
    assert reza.core is not None
    opened = await mina.rpc("chats.open_direct", {"account": reza.core.state.account})
    chat = str(opened["chat"]["id"])
    body = {"chat": chat, "random_id": "9", "text": "salaam"}
    assert (await mina.rpc("messages.send", body))["seq"] == 1
    assert (await mina.rpc("messages.send", body))["seq"] == 1
    await reza.wait_until(lambda: chat in reza.state.chats)
    await reza.wait_until(lambda: reza.state.chats[chat].texts == ["salaam"])
    await reza.rpc("sync.difference", {"aev": 0, "chats": [[chat, 1, 0]]})
    with pytest.raises(RpcError):
        await reza.rpc("messages.send", {"chat": "1", "random_id": "1", "text": "x"})
    reza.cut()
    await reza.resume()
    async with joined(platform.ws_url, (await platform.signs_up("نیما")).token) as line:
        await line.socket.send("not a command")
        assert (await line.close_code())[0] == CloseCode.BAD_REQUEST
    yield
    await mina.close()
    await reza.close()


async def test_given_traffic_when_scraped_then_every_metric_has_moved(own: Platform) -> None:
    catalogue = Metrics().catalogue
    quiet = {"nothing was scraped"}

    async def moved() -> bool:
        found = await still(own, catalogue)
        quiet.clear()  # only now: the wait may be cut off while it scrapes
        quiet.update(found)
        return not quiet

    async with talk(own):
        gc.collect()  # the node's hook hears of it; by itself the collector may wait for minutes
        with suppress(TimeoutError):
            await until(moved, 8.0)

    assert quiet == set()


async def still(
    platform: Platform, catalogue: list[tuple[str, str, tuple[str, ...], str]]
) -> set[str]:
    """Metrics that traffic should have moved and has not."""
    found = await series(platform)
    quiet: set[str] = set()
    for name, kind, _, _ in catalogue:
        short = name.removeprefix("peyk_").removesuffix("_total")
        total = found.get(f"{name}_count" if kind == "histogram" else name, 0.0)
        if short not in FAULTS_ONLY and not total > 0:
            quiet.add(short)
    return quiet


def test_given_a_metric_that_rests_while_all_is_well_when_sought_then_something_feeds_it() -> None:
    fed = "\n".join(
        path.read_text(encoding="utf-8")
        for path in files(".py", under=PACKAGES)
        if path.name != "metrics.py"
    )

    assert [name for name in FAULTS_ONLY if f".{name}" not in fed] == []


async def test_given_secrets_everywhere_when_all_is_logged_then_no_line_holds_one(
    own: Platform, lines: io.StringIO
) -> None:
    phone = a_phone()
    signed_in = await own.signs_up(WORD, phone)
    other = await own.signs_up("رضا")
    mina = await connected(own, signed_in)
    await uses_everything(mina, other.account)
    await knocks_badly(own)
    await mina.close()

    text = lines.getvalue() + servers_logs(own.home)
    assert "rpc traced" in text
    assert TRACE in text
    for secret in (WORD, phone, phone[3:], signed_in.token, signed_in.refresh, other.token):
        assert secret not in text
    assert WORD not in str(await series(own))


async def uses_everything(mina: Client, other: str) -> None:
    """Every kind of call that carries what people write; refusals too."""
    opened = await mina.rpc("chats.open_direct", {"account": other})
    chat = str(opened["chat"]["id"])
    group = {"kind": "group", "title": WORD, "members": [other], "random_id": "1"}
    calls = [
        ("accounts.update", {"name": WORD, "bio": WORD}),
        ("accounts.update", {"username": WORD}),
        ("accounts.resolve", {"username": WORD}),
        ("accounts.import_contacts", {"phones": [WORD, f"+98{WORD}"]}),
        ("chats.create", group),
        ("chats.draft", {"chat": chat, "text": WORD}),
        ("chats.report", {"chat": chat, "reason": WORD, "text": WORD}),
        ("messages.send", {"chat": chat, "random_id": "2", "text": WORD}),
        ("messages.send", {"chat": chat, "random_id": "2", "text": f"other {WORD}"}),
        ("messages.send", {"chat": chat, "random_id": "3", "text": f"{WORD}\x00"}),
        ("messages.send", {"chat": chat, "random_id": "4", "text": WORD * 2_000}),
        ("messages.send", {"chat": WORD, "random_id": WORD, "text": [WORD]}),
        ("messages.edit", {"chat": chat, "seq": 1, "text": f"{WORD} again"}),
        ("messages.react", {"chat": chat, "seq": 1, "emoji": WORD}),
        ("messages.search", {"q": WORD}),
        (WORD, {WORD: WORD}),
    ]
    for method, data in calls:
        try:
            await mina.rpc(method, data)
        except RpcError:
            continue


async def knocks_badly(platform: Platform) -> None:
    """Requests that are refused before any handler sees them, and one that is traced."""
    token = (await platform.signs_up(WORD)).token
    headers = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
    async with httpx.AsyncClient(base_url=platform.url, headers=headers) as web:
        asked = await web.post("/rpc/accounts.request_code", json={"phone": a_phone()})
        assert asked.headers["x-trace-id"] == TRACE
        for path in ("/rpc/accounts.request_code", "/rpc/accounts.sign_in", f"/{WORD}"):
            await web.post(path, json={"phone": WORD, "ticket": WORD, "code": WORD})
            await web.post(path, content=WORD, headers={"Authorization": f"Bearer {WORD}"})
        await web.post("/rpc/accounts.me", json={}, headers={"Authorization": f"Bearer {token}"})
    async with joined(platform.ws_url, token) as line:
        await line.says(subscribe={"channel": f"chat:{WORD}"})
        await line.socket.send(f'{{"id": 9, "rpc": {WORD}')
        await line.close_code()
    try:
        async with connect(f"{platform.ws_url}?{WORD}", additional_headers={"X-A": WORD}) as bad:
            await bad.send('{"id":1,"connect":{"token":"' + WORD + '"}}')
            await bad.recv()
    except (ConnectionClosed, InvalidStatus):
        pass


def servers_logs(home: Path) -> str:
    """What PostgreSQL and Redis of this run have written."""
    found = [*home.glob("*.log"), *home.glob("*/*.log")]
    assert found
    return "".join(path.read_text(encoding="utf-8", errors="replace") for path in found)
