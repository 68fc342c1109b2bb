"""Bad input for every rpc of the catalogue, derived from the types of their requests.

Whatever is wrong, the answer is a refusal that names it, never error 100, the socket stays open,
and no row of any table changes.
"""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import msgspec
import pytest
from msgspec import Raw, inspect
from sqlalchemy.ext.asyncio import create_async_engine

from messenger.client.errors import RpcError
from messenger.client.http import post
from messenger.client.websocket import Client
from messenger.db.engine import metadata
from messenger.db.migrate import migrate
from messenger.feature import Access, Rpc
from messenger.settings import Settings
from messenger.wire.messages import RpcRequest
from tests.support.platform import Platform, SignedIn, connected, running

LIVELY = {"device", "otp", "generator", "purge_job"}
"""Leases and sign-ins write these by clock."""
UNKNOWN_ID = "9000000000000000001"
HUGE = "9" * 40


@pytest.fixture(scope="module")
async def node(settings: Settings) -> AsyncIterator[Platform]:
    limits = {
        name: msgspec.structs.replace(rule, burst=1e6, per_s=1e6)
        for name, rule in settings.limits.items()
    }
    url = await a_database(settings.database_url or "")
    async with running(settings, limits=limits, command_rate=1e6, database_url=url) as platform:
        yield platform


async def a_database(url: str) -> str:
    """A database of its own, where nobody else's rows change while we count."""
    engine = create_async_engine(url, isolation_level="AUTOCOMMIT")
    async with engine.connect() as connection:
        await connection.exec_driver_sql("drop database if exists bad_input")
        await connection.exec_driver_sql("create database bad_input")
    await engine.dispose()
    own = url.replace("/peyk?", "/bad_input?")
    assert own != url
    await migrate(own)
    return own


@pytest.fixture(scope="module")
async def person(node: Platform) -> SignedIn:
    return await node.signs_up("careful")


@pytest.fixture(scope="module")
async def client(node: Platform, person: SignedIn) -> AsyncIterator[Client]:
    client = await connected(node, person)
    yield client
    await client.close()


def good(kind: inspect.Type) -> Any:  # noqa: C901 - one line per kind of type
    """A value of the right type and form that names nothing which exists."""
    match kind:
        case inspect.StrType(pattern=pattern, min_length=least):
            if pattern and "[1-9]" in pattern:
                return UNKNOWN_ID
            return "+989120000000" if pattern and "+" in pattern else "x" * max(1, least or 1)
        case inspect.IntType(ge=low):
            return low or 1
        case inspect.FloatType():
            return 1.0
        case inspect.BoolType():
            return True
        case inspect.LiteralType(values=values):
            return values[0]
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return [good(item)]
        case inspect.TupleType(item_types=items):
            return [good(item) for item in items]
        case inspect.DictType():
            return {}
        case inspect.UnionType(types=types):
            return good(next(one for one in types if not isinstance(one, inspect.NoneType)))
        case inspect.StructType(fields=fields):
            return {one.encode_name: good(one.type) for one in fields if one.required}
        case _:
            return {}


def fits(kind: inspect.Type, text: str) -> bool:
    """Is it a good value after all: words have no form, so forty digits are a name."""
    match kind:
        case inspect.UnionType(types=types):
            return any(fits(one, text) for one in types)
        case inspect.StrType(pattern=None, min_length=least, max_length=most):
            return (least or 0) <= len(text) <= (len(text) if most is None else most)
        case _:
            return False


def bad_values(kind: inspect.Type) -> Iterator[Any]:
    """Values that the type must refuse, or that name nothing."""
    yield from ([], {}, True, -1, 2**63, "\u0000", 1.5, ["x"] * 2_000, "x" * 20_000)
    yield from (text for text in (HUGE, "") if not fits(kind, text))
    match kind:
        case inspect.IntType():
            yield "1"
        case inspect.ListType(item_type=item):
            yield [good(item)] * 1_500
            yield [None]


def cases(rpc: Rpc) -> Iterator[tuple[str, bytes]]:
    """(what is wrong, request)."""
    struct = inspect.type_info(rpc.request)
    assert isinstance(struct, inspect.StructType)
    base = good(struct)
    if rpc.method == "chats.create":
        base["random_id"] = "9" * 19  # what is left of the request makes a good channel
    yield "no object", b"[]"
    yield "not JSON", b"{"
    yield "deep", b'{"x":' * 3_000 + b"1" + b"}" * 3_000
    for field in struct.fields:
        name = field.encode_name
        if field.required:
            without = {key: value for key, value in base.items() if key != name}
            yield f"without {name}", json.dumps(without).encode()
        yield (
            f"{name} surrogate",
            json.dumps({**base, name: "x"}).replace('"x"', '"\\ud800"').encode(),
        )
        for value in bad_values(field.type):
            shown = f"{name} = {str(value)[:20]}"
            yield shown, json.dumps({**base, name: value}).encode()
    yield "nothing that exists", json.dumps(base).encode()


async def counts(settings: Settings) -> dict[str, tuple[int, int]]:
    """Rows of every table, and a sum over their content."""
    engine = create_async_engine(settings.database_url or "")
    found = {}
    async with engine.connect() as connection:
        for table in metadata.sorted_tables:
            if table.name not in LIVELY:
                row = await connection.exec_driver_sql(
                    f'select count(*), coalesce(sum(hashtext(t::text)), 0) from "{table.name}" t'  # noqa: S608 - our own names
                )
                found[table.name] = tuple(row.one())
    await engine.dispose()
    return found


HARMLESS = {"accounts.sign_out"}  # takes nothing, so nothing can be wrong with it
ALWAYS_GOOD = {
    "system.hello", "system.echo", "accounts.me", "accounts.sessions", "accounts.contacts",
    "accounts.blocked", "accounts.privacy", "accounts.update", "accounts.get", "chats.list",
    "sync.heads", "accounts.presence", "accounts.watch", "sync.check", "sync.difference",
    "chats.get", "messages.search", "accounts.remove_contact", "accounts.block",
    "accounts.import_contacts", "messages.read", "messages.delivered", "messages.typing",
    "accounts.revoke_session", "channels.view", "channels.search", "channels.suggest",
}  # fmt: skip
"""Fine without anything that exists: they list what there is, which is nothing."""


@pytest.mark.timeout(60)
async def test_given_bad_input_when_any_rpc_gets_it_then_a_clear_refusal_and_nothing_stored(
    node: Platform, client: Client, person: SignedIn
) -> None:
    before = await counts(node.settings)
    wrong: list[str] = []
    accepted: list[str] = []
    tried = 0
    for rpc in node.node.rpcs.methods:
        if rpc.method in HARMLESS:
            continue
        for what, request in cases(rpc):
            tried += 1
            code, message = await answer(node, client, person, rpc, request)
            if code == 100 or (code == 0 and what.startswith(("without", "no obj", "not J"))):
                wrong.append(f"{rpc.method}: {what}: {code} {message}")
            elif code == 0 and rpc.method not in ALWAYS_GOOD:
                wrong.append(f"{rpc.method}: {what}: accepted")
            if code == 0:
                accepted.append(f"{rpc.method}: {what}")
    assert wrong == []
    assert tried > 1_500
    assert client.connected
    assert await counts(node.settings) == before, accepted


async def answer(
    node: Platform, client: Client, person: SignedIn, rpc: Rpc, request: bytes
) -> tuple[int, str]:
    """The error's code and message, (0, "") for a result."""
    # What is not JSON, or too deep, makes the frame itself undecodable: that closes a socket.
    malformed = not request.startswith(b'{"') or request.startswith(b'{"x":{')
    by_http = rpc.access is Access.HTTP or malformed
    if by_http:
        headers = {"Authorization": f"Bearer {person.token}"}
        status, body = await post(f"{node.url}/rpc/{rpc.method}", request, headers)
        if status == 413:
            return 1011, "TOO_LARGE"
        error = msgspec.json.decode(body).get("error", {"code": 0, "message": ""})
        return error["code"], error["message"]
    try:
        await client.request(RpcRequest(Raw(request), rpc.method))
    except RpcError as refused:
        return refused.code, refused.message
    return 0, ""
