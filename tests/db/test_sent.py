"""What is really sent, as PostgreSQL's own log has it: every statement of a node under all rpcs.

Not what the code declares, and whatever driver it goes through. Each must be of the registry, or
plumbing that touches no table of ours; a hot one must name its key as the rendering demands.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from messenger.catalogue import features
from messenger.client.errors import RpcError
from messenger.client.websocket import Client
from messenger.db.engine import Database
from messenger.db.migrate import migrate
from messenger.db.statements import RenderingName
from messenger.settings import Settings
from tests.conftest import Stores
from tests.db.test_statements import ALL, UNRENDERED, is_keyed, keys_in, names_one_key, tables_in
from tests.support.platform import Platform, SignedIn, code_of, connected, running

ENTRY = re.compile(r"LOG:  (?:execute [^:]*|statement): (.*?)(?=\n\S|\Z)", re.DOTALL)
ABOUT_OURSELVES = re.compile(r"purge_job|schema_version|pg_catalog|pg_type|pg_range")
BACKGROUND_S = 1.2  # of the schedule, the indexer, cursors and reactions that wait for their time


SCANNED = {"generator", "purge_job", "schema_version", "outbox_c", "outbox_a", "scheduled"}
"""By pollers and leases: tables of a few rows, and of cold statements."""


@pytest.fixture
async def url(stores: Stores, database: Database) -> AsyncIterator[str]:
    """A database of its own, the only one whose statements are logged."""
    name = f"sent_{uuid4().hex}"
    url = stores.database_url.replace("/peyk?", f"/{name}?")
    async with database.statement() as connection:
        await connection.exec_driver_sql(f"create database {name}")
    await migrate(url)
    async with database.statement() as connection:
        await connection.exec_driver_sql(f"alter database {name} set log_statement = 'all'")
    yield url
    async with database.statement() as connection:
        await connection.exec_driver_sql(f"drop database {name} with (force)")


def unlimited(settings: Settings, url: str, rendering: RenderingName) -> Settings:
    rules = {
        name: msgspec.structs.replace(rule, burst=1e6, per_s=1e6)
        for name, rule in settings.limits.items()
    }
    return msgspec.structs.replace(
        settings, database_url=url, rendering=rendering, limits=rules, otp_resend=0.001
    )


async def read_of(url: str, sql: str) -> dict[str, int]:
    reader = await Database.connect(url, pool=1)
    async with reader.statement() as connection:
        rows = await connection.exec_driver_sql(sql)
        found = {row[0]: row[1] for row in rows}
    await reader.close()
    return found


SCANS = "select relname, seq_scan from pg_stat_user_tables"
FUNCTIONS = "select p.proname, 1 from pg_proc p where p.pronamespace = 'public'::regnamespace"


def sent_since(log: Path, at: int) -> Iterator[str]:
    with log.open(encoding="utf-8", errors="replace") as file:
        file.seek(at)
        text = file.read()
    for found in ENTRY.finditer(text):
        yield " ".join(found[1].split())


class Traffic:
    """Three people who use every rpc there is; what is refused was asked of the store as well."""

    def __init__(self, platform: Platform) -> None:
        self.platform = platform
        self.called: set[str] = set()

    async def post(self, method: str, data: Any, token: str | None = None) -> Any:
        self.called.add(method)
        return await self.platform.post(method, data, token)

    async def call(self, client: Client, method: str, **data: Any) -> Any:
        self.called.add(method)
        try:
            return await client.rpc(method, data)
        except RpcError as error:
            if error.code == 100:
                raise
            return {}

    async def runs(self) -> None:
        mina, reza, dara = [await self.platform.signs_up(name) for name in ("m", "r", "d")]
        self.called |= {"accounts.request_code", "accounts.sign_in"}
        await self.post("accounts.token", {"refresh": mina.refresh})
        clients = [await connected(self.platform, one) for one in (mina, reza, dara)]
        try:
            await self.people(clients[0], mina, reza)
            chat = await self.group(clients, reza, dara)
            await self.talk(clients, chat)
            await self.own_view(clients[0], chat)
            await self.sync(clients[0], chat)
            await asyncio.sleep(BACKGROUND_S)
            await self.ends(clients, chat, reza, dara)
        finally:
            for client in clients:
                await client.close()

    async def people(self, client: Client, mina: SignedIn, reza: SignedIn) -> None:
        call, ids = self.call, [mina.account, reza.account]
        await call(client, "system.hello")
        await call(client, "system.echo")
        await call(client, "accounts.me")
        await call(client, "accounts.update", name="مینا", username=f"mina_{uuid4().hex[:8]}")
        await call(client, "accounts.privacy", set={"last_seen": "everyone"})
        await call(client, "accounts.sessions")
        await call(client, "accounts.get", ids=ids)
        await call(client, "accounts.resolve", username="nobody_here")
        await call(client, "accounts.import_contacts", phones=[reza.phone])
        await call(client, "accounts.contacts")
        await call(client, "accounts.block", account=reza.account, on=True)
        await call(client, "accounts.blocked")
        await call(client, "accounts.block", account=reza.account, on=False)
        await call(client, "accounts.presence", ids=ids)
        await call(client, "accounts.watch", ids=ids)
        await call(client, "accounts.remove_contact", account=reza.account)
        await call(client, "accounts.revoke_session", device_id="all_others")

    async def group(self, clients: list[Client], reza: SignedIn, dara: SignedIn) -> str:
        call, first = self.call, clients[0]
        made = await call(first, "chats.create", kind="group", title="g", random_id="5")
        chat: str = made["chat"]["id"]
        await call(first, "chats.open_direct", account=reza.account)
        await call(first, "chats.add_members", chat=chat, accounts=[reza.account])
        link = (await call(first, "chats.link_create", chat=chat, approval=True))["link"]
        await call(first, "chats.links", chat=chat)
        await call(clients[2], "chats.join", link=link)
        await call(first, "chats.requests", chat=chat)
        await call(first, "chats.answer_request", chat=chat, account=dara.account, accept=True)
        await call(first, "chats.link_revoke", link=link)
        await call(first, "chats.set_role", chat=chat, account=reza.account, role="admin")
        await call(first, "chats.restrict", chat=chat, account=dara.account, deny=["media"])
        await call(first, "chats.update", chat=chat, title="gg")
        await call(first, "chats.list")
        await call(first, "chats.get", chats=[chat])
        await call(first, "chats.members", chat=chat)
        await call(first, "chats.log", chat=chat)
        await call(first, "chats.report", chat=chat, reason="spam")
        return chat

    async def talk(self, clients: list[Client], chat: str) -> None:
        call, (first, second, _) = self.call, clients
        for number in range(1, 5):
            await call(first, "messages.send", chat=chat, random_id=str(number), text="سلام کتاب")
        later = int(asyncio.get_running_loop().time()) + 4_000_000_000_000
        await call(first, "messages.send", chat=chat, random_id="9", text="x", schedule_at=later)
        await call(first, "messages.scheduled", chat=chat)
        await call(first, "messages.unschedule", chat=chat, id="7")
        await call(first, "messages.edit", chat=chat, seq=1, text="سلام‌ها")
        await call(second, "messages.react", chat=chat, seq=1, emoji="👍")
        await call(second, "messages.react", chat=chat, seq=1, emoji=None)
        await call(second, "messages.typing", chat=chat, kind="text")
        await call(second, "messages.delivered", cursors=[{"chat": chat, "seq": 2}])
        await call(second, "messages.read", cursors=[{"chat": chat, "seq": 3}])
        await call(first, "messages.readers", chat=chat, seq=1)
        await call(
            first, "messages.forward", **{"from": chat, "to": chat}, seqs=[1], random_ids=["77"]
        )
        await call(first, "chats.pin_message", chat=chat, seq=1, on=True)
        await call(first, "chats.pins", chat=chat)
        await call(first, "messages.delete", chat=chat, seqs=[2], **{"for": "all"})
        await call(first, "messages.delete", chat=chat, seqs=[3], **{"for": "me"})
        await call(first, "messages.get", chat=chat, seqs=[1, 2])
        await call(first, "messages.history", chat=chat)
        await call(first, "messages.history", chat=chat, around=2)
        await call(first, "messages.search", q="کتاب")
        await call(first, "messages.search", q="کتاب", chat=chat)

    async def own_view(self, client: Client, chat: str) -> None:
        await self.call(client, "chats.mute", chat=chat, until=1)
        await self.call(client, "chats.pin", chat=chat, rank=1)
        await self.call(client, "chats.folder", chat=chat, n=1)
        await self.call(client, "chats.draft", chat=chat, text="d")
        await self.call(client, "chats.clear", chat=chat, up_to_seq=1)

    async def sync(self, client: Client, chat: str) -> None:
        await self.call(client, "sync.heads")
        await self.call(client, "sync.difference", aev=0, chats=[[chat, 1, 0]])
        await self.call(client, "sync.check", digest="x")

    async def ends(self, clients: list[Client], chat: str, reza: SignedIn, dara: SignedIn) -> None:
        call, (first, second, third) = self.call, clients
        await call(third, "chats.leave", chat=chat)
        await call(first, "chats.transfer", chat=chat, account=reza.account)
        await call(second, "chats.remove_member", chat=chat, account="9", ban=True)
        await call(second, "chats.delete", chat=chat)
        phone = {"phone": reza.phone}
        ticket = (await self.post("accounts.request_code", phone))["ticket"]
        code = code_of(self.platform.home, reza.phone)
        await self.post("accounts.delete", {"ticket": ticket, "code": code}, reza.token)
        await self.post("accounts.sign_out", {}, dara.token)


@pytest.mark.parametrize("rendering", ["many", "one"])
async def test_given_all_rpcs_when_a_node_answers_them_then_each_statement_sent_names_its_key(
    settings: Settings, url: str, home: Path, rendering: RenderingName
) -> None:
    log = home / "postgres.log"
    scanned = await read_of(url, SCANS)
    functions = "|".join(await read_of(url, FUNCTIONS))
    start = log.stat().st_size
    async with running(unlimited(settings, url, rendering)) as node:
        traffic = Traffic(node)
        await traffic.runs()
    sent = set(sent_since(log, start))
    scans = {name for name, n in (await read_of(url, SCANS)).items() if n > scanned.get(name, 0)}

    known = {
        " ".join(sql.split()): statement
        for statement in ALL.values()
        for sql in (statement.sql, statement.one or statement.sql)
    }
    ours = re.compile(rf"\b({functions})\(")
    strange = {sql for sql in sent - set(known) if tables_in(sql) or ours.search(sql)}
    later = {" ".join(ALL[name].sql.split()) for name in UNRENDERED}
    hot = {sql: known[sql] for sql in sent if sql in known and not known[sql].cold}
    keyed = is_keyed if rendering == "many" else names_one_key

    assert {sql for sql in strange if not ABOUT_OURSELVES.search(sql)} == set()
    assert {sql for sql, one in hot.items() if not keyed(sql, one.key)} <= later
    assert {sql for sql, one in hot.items() if not keys_in(sql) <= {one.key}} == set()
    assert len(hot) > 60  # the log is really read
    assert any("commit_one(" in sql for sql in hot) == (rendering == "one")
    assert scans - SCANNED == set()
    core = {rpc.method for one in features() for rpc in one.rpcs}
    # what lies beside the core has traffic of its own
    assert {name for name in core if not name.startswith("channels.")} <= traffic.called
