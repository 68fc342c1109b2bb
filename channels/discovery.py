"""Finding public channels: by words and names, and by category; verified ones first.

The directory is a copy. Whoever changes a channel has it looked at anew at once; a walk over all
names of chats, by one node at a time, brings in what nobody told: a badge given or ended, new
members, a change whose node died.
"""

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence

from channels.facts import is_verified
from channels.lookalike import Candidate, alike, ranked, skeleton
from channels.protocol import Found, Hits, Search, Suggest
from channels.sanctions import Sanctioned
from channels.standing import raw
from channels.store.directory import DirectoryStore, Listing
from messenger.bus.bus import Bus
from messenger.bus.keys import directory_key
from messenger.bus.link import BusDown
from messenger.chats.objects import Views, chat_object
from messenger.chats.rights import NO_SEAT, Kind, Standing, standing
from messenger.chats.store.chats import ChatRow, ChatRows
from messenger.chats.store.mine import MineRow
from messenger.db.engine import StoreDown
from messenger.feature import Caller, Refused
from messenger.folding import fold, index_tokens, query_tokens, token_hash
from messenger.ids import AccountId, ChatId
from messenger.wire.codes import ErrorCode

EVERY_S = 0.5
WALK_EVERY = 60  # rounds, half a minute
WALKED = 500  # channels a step: 100,000 are walked in under two hours
LEASE_S = 25  # shorter than a step's distance, so that the walk goes on when its node dies
WAITING = 10_000  # changed channels; beyond it the walk finds them

log = logging.getLogger(__name__)


class Discovery:
    """The rpcs `channels.search` and `channels.suggest`, and the task that keeps the directory."""

    def __init__(
        self,
        store: DirectoryStore,
        chats: ChatRows,
        in_force: Sanctioned,
        bus: Bus,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._chats = chats
        self._in_force = in_force
        self._bus = bus
        self._now_ms = now_ms
        self._changed: set[ChatId] = set()
        self._name = ""
        self._listed = ChatId(0)

    def changed(self, chat: ChatId) -> None:
        """Look at the channel anew."""
        if len(self._changed) < WAITING:
            self._changed.add(chat)

    def rpcs(self, views: Views) -> "Finding":
        return Finding(self._store, self._chats, views, self._now_ms)

    async def run(self) -> None:
        """Keep the directory until cancelled."""
        rounds = 0
        while True:
            await asyncio.sleep(EVERY_S)
            rounds += 1
            try:
                await self.catch_up()
                if rounds % WALK_EVERY == 0 and await self._is_my_turn():
                    await self.walk()
            except (StoreDown, BusDown):
                log.warning("the directory waits: a store is away")
            except Exception:  # the root of a task
                log.exception("the directory was not kept")

    async def catch_up(self) -> None:
        """List what was changed as it is now."""
        changed, self._changed = sorted(self._changed), set()
        for start in range(0, len(changed), WALKED):
            await self.look_at(changed[start : start + WALKED])

    async def walk(self) -> None:
        """The next channels by name, and the next ones listed, which may have lost theirs."""
        named = await self._store.names(self._name, WALKED)
        self._name = named[-1][0] if len(named) == WALKED else ""
        await self.look_at([chat for _, chat in named])
        listed = await self._store.listed(self._listed, WALKED)
        self._listed = listed[-1] if len(listed) == WALKED else ChatId(0)
        await self.look_at(listed)

    async def look_at(self, chats: Collection[ChatId]) -> None:
        rows = await self._chats.chats(chats)
        public = {chat: row for chat, row in rows.items() if is_public(row)}
        for row in public.values():
            await self._store.put(self._listing(row))
        await self._store.drop([chat for chat in chats if chat not in public])

    async def _is_my_turn(self) -> bool:
        """One node walks; which one does not matter."""
        return bool(await self._bus.ask("SET", directory_key(), "1", "NX", "EX", LEASE_S))

    def _listing(self, row: ChatRow) -> Listing:
        title, username = row.title or "", row.username or ""
        tokens = index_tokens(title) | index_tokens(username.replace("_", " ")) | {username}
        return Listing(
            chat=row.chat,
            username=username,
            title_fold=fold(title),
            skeleton=skeleton(title),
            tokens=sorted(token_hash(token) for token in tokens),
            category=row.settings.get("category") or "",
            members=row.member_count,
            verified=is_verified(row, self._now_ms()),
            hidden=self._in_force.hides(row.chat),
        )


class Finding:
    """What people ask the directory."""

    def __init__(
        self, store: DirectoryStore, chats: ChatRows, views: Views, now_ms: Callable[[], int]
    ) -> None:
        self._store = store
        self._chats = chats
        self._views = views
        self._now_ms = now_ms

    async def search(self, request: Search, caller: Caller) -> Hits:
        """Verified channels first; those that only look like one last, and marked."""
        tokens = [token_hash(token) for token in query_tokens(request.q)]
        if not tokens:
            raise Refused(ErrorCode.INVALID, {"field": "q", "why": "no word"})
        name = request.q.strip().lower().removeprefix("@")
        found = await self._store.find(tokens, name, fold(request.q), skeleton(request.q))
        return await self._hits(caller.account, ranked(request.q, found), request.limit)

    async def suggest(self, request: Suggest, caller: Caller) -> Hits:
        """Channels of a category that the caller is not in."""
        found = await self._store.in_category(request.category)
        ids = [ChatId(one.chat) for one in found]
        seats = await self._chats.own_seats(ids, caller.account)
        others = [one for one in found if seats.get(ChatId(one.chat), NO_SEAT).role <= 0]
        return await self._hits(caller.account, ranked("", others), request.limit)

    async def _hits(self, account: AccountId, found: Sequence[Candidate], limit: int) -> Hits:
        """As they are now: the copy may be a little old."""
        ids = [ChatId(one.chat) for one in found]
        rows, seats = await self._chats.chats(ids), await self._chats.own_seats(ids, account)
        own = await self._views.objects(account, ids)
        last, now, hits = alike(found), self._now_ms(), []
        for chat in ids:
            row, seat = rows.get(chat), seats.get(chat, NO_SEAT)
            if row is None or not is_public(row) or standing(seat, now) is Standing.BANNED:
                continue
            shown = own.get(chat) or chat_object(row, seat, MineRow(chat), None, account, now)
            verified = is_verified(row, now)
            hits.append(Found(raw(shown), alike=chat in last and not verified))
            if len(hits) == limit:
                break
        return Hits(hits)


def is_public(row: ChatRow) -> bool:
    return row.kind is Kind.CHANNEL and row.username is not None
