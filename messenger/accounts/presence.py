"""Who is here, and roughly when somebody was.

A session is a field of `sess:{A}` with a lease; the last activity is kept as a day, because the
wire never tells more than recently, week, month. All of it may be lost: it is the first thing
shed, and time heals it.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence

import msgspec

from messenger.accounts.privacy import Privacy
from messenger.accounts.protocol import Nothing, PresenceChanged, PresenceList, Seen, Watch
from messenger.accounts.wire_ids import accounts_of
from messenger.bus.bus import Bus
from messenger.bus.keys import seen_key, session_key, watch_key
from messenger.bus.link import BusDown
from messenger.bus.scripts import OPENED
from messenger.db.engine import StoreDown
from messenger.delivery.fanout import Delivery
from messenger.feature import Caller, Shed, Sheds, sheds_nothing
from messenger.ids import AccountId, DeviceId

DAY_S = 86_400
SESSION_LEASE_S = 900  # a killed node's sessions look present for at most this long
RENEW_AFTER_S = 300
RENEW_TICK_S = 5.0
SEEN_LIFE_S = 35 * DAY_S
WATCH_LIFE_S = 60
WATCHERS_MAX = 1_000  # told of one change; a celebrity's other watchers ask again in 60 s
CHANGES_MAX = 10_000  # accounts waiting to be told about; beyond it changes are dropped
BATCH = 50

RECENTLY_DAYS = 2
WEEK_DAYS = 7
MONTH_DAYS = 35

log = logging.getLogger(__name__)


def bucket(days: int | None) -> Seen:
    """What the wire says about the last activity, `days` ago; None: nothing is known."""
    if days is None or days > MONTH_DAYS:
        return "hidden"
    if days <= RECENTLY_DAYS:
        return "recently"
    return "week" if days <= WEEK_DAYS else "month"


class Presence:
    """Sessions of this node as others see them, and the questions about anybody."""

    def __init__(
        self,
        bus: Bus,
        delivery: Delivery,
        privacy: Privacy,
        now_ms: Callable[[], int],
        sheds: Sheds = sheds_nothing,
    ) -> None:
        self._bus = bus
        self._delivery = delivery
        self._privacy = privacy
        self._now_ms = now_ms
        self._sheds = sheds
        self._sessions: OrderedDict[Caller, int] = OrderedDict()  # -> second of renewal
        self._watching: dict[Caller, frozenset[AccountId]] = {}
        self._changed: dict[AccountId, bool] = {}
        self._wake = asyncio.Event()

    def opened(self, caller: Caller) -> None:
        """A session of a product token opened on this node. Never awaits."""
        account, now_ms = caller.account, self._now_ms()
        self._sessions[caller] = now_s = now_ms // 1_000

        def told(watched: object) -> None:
            if watched and not isinstance(watched, Exception):
                self._note(account, everyone=False)

        self._bus.call(
            "EVALSHA", OPENED.sha, 3, session_key(account), seen_key(account), watch_key(account),
            _field(caller), now_s + SESSION_LEASE_S, DAY_S, now_ms // (DAY_S * 1_000), SEEN_LIFE_S,
            done=told,
        )  # fmt: skip

    def closed(self, caller: Caller) -> None:
        """It closed, for whatever reason."""
        if self._sessions.pop(caller, None) is None:
            return
        name = _watcher(caller)
        for one in self._watching.pop(caller, ()):
            self._bus.call("ZREM", watch_key(one), name)
        self._bus.call("HDEL", session_key(caller.account), _field(caller))
        self._seen(caller.account)
        self._note(caller.account, everyone=False)

    def hidden(self, account: AccountId) -> None:
        """The account changed who may see it: those who no longer may are told so."""
        self._note(account, everyone=True)

    async def devices_online(self, account: AccountId) -> set[DeviceId]:
        """Devices with a session on any node; empty while Redis is away."""
        try:
            reply = await self._bus.ask("HGETALL", session_key(account))
        except BusDown:
            return set()
        return {DeviceId(int(field.partition(b":")[0])) for field in self._live(reply)}

    async def presence(self, request: Watch, caller: Caller) -> PresenceList:
        """In the order asked; whoever hides, blocks or does not exist is `hidden`."""
        asked = accounts_of(request.ids)
        visible = await self._privacy.mutual(caller.account, asked)
        states = await self._states(visible)
        return PresenceList([(str(one), states.get(one, "hidden")) for one in asked])

    def watch(self, request: Watch, caller: Caller) -> Nothing:
        """Changes of these accounts go to `eph:` for 60 s; the set before is forgotten."""
        asked = frozenset(accounts_of(request.ids)) - {caller.account}
        before = self._watching.get(caller, frozenset())
        now_s = self._now_ms() // 1_000
        name = _watcher(caller)
        for one in before - asked:
            self._bus.call("ZREM", watch_key(one), name)
        for one in asked:
            self._bus.call("ZREMRANGEBYSCORE", watch_key(one), "-inf", now_s - 1)
            self._bus.call("ZADD", watch_key(one), now_s + WATCH_LIFE_S, name)
            self._bus.call("EXPIRE", watch_key(one), WATCH_LIFE_S)
        if asked and caller in self._sessions:  # forgotten when the session closes
            self._watching[caller] = asked
        else:
            self._watching.pop(caller, None)
        return Nothing()

    async def run(self) -> None:
        """Tell watchers and renew leases until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._run_changes(), name="presence changes")
            tasks.create_task(self._run_leases(), name="presence leases")

    async def _run_changes(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._changed:
                batch = dict(list(self._changed.items())[:BATCH])
                for account in batch:
                    del self._changed[account]
                await self._tell_all(batch)

    async def _tell_all(self, batch: dict[AccountId, bool]) -> None:
        """Tell of each; one whose rows cannot be read is left out of a batch told again."""
        try:
            await self._tell(batch)
        except (BusDown, StoreDown):
            log.warning("presence changes dropped", extra={"accounts": len(batch)})
        except Exception:  # the root of a task: it outlives a bad row
            if len(batch) == 1:
                log.exception("presence change dropped")
                return
            for account, everyone in batch.items():
                await self._tell_all({account: everyone})

    async def _run_leases(self) -> None:
        while True:
            await asyncio.sleep(RENEW_TICK_S)
            self.renew_due()

    def renew_due(self) -> None:
        """Renew the leases of sessions that were renewed longest ago."""
        now_s = self._now_ms() // 1_000
        while self._sessions:
            caller, renewed = next(iter(self._sessions.items()))
            if now_s - renewed < RENEW_AFTER_S:
                return
            self._sessions.pop(caller)
            self._renew(caller)

    def _renew(self, caller: Caller) -> None:
        key, now_s = session_key(caller.account), self._now_ms() // 1_000
        self._sessions[caller] = now_s
        self._bus.call("HSET", key, _field(caller), now_s + SESSION_LEASE_S)
        self._bus.call("EXPIRE", key, DAY_S)

    def _seen(self, account: AccountId) -> None:
        day = self._now_ms() // (DAY_S * 1_000)
        self._bus.call("SET", seen_key(account), day, "EX", SEEN_LIFE_S)

    def _note(self, account: AccountId, *, everyone: bool) -> None:
        if not everyone and self._sheds(Shed.PRESENCE):
            return  # watchers ask again within 60 s; whoever hides is still hidden at once
        if len(self._changed) >= CHANGES_MAX and account not in self._changed:
            return
        self._changed[account] = everyone or self._changed.get(account, False)
        self._wake.set()

    async def _tell(self, batch: dict[AccountId, bool]) -> None:
        now_s = self._now_ms() // 1_000
        for one in batch:  # a set that is always watched by somebody never expires
            self._bus.call("ZREMRANGEBYSCORE", watch_key(one), "-inf", now_s - 1)
        replies = await self._bus.ask_all(
            [
                ("ZRANGE", watch_key(one), now_s, "+inf", "BYSCORE", "LIMIT", 0, WATCHERS_MAX)
                for one in batch
            ]
        )
        watched = {
            account: {AccountId(int(name.partition(b".")[0])) for name in names}
            for account, names in zip(batch, replies, strict=True)
            if names
        }
        states = await self._states(list(watched))
        for account, watchers in watched.items():
            visible = await self._privacy.mutual(account, watchers)
            self._push(account, states[account], visible)
            if batch[account]:
                self._push(account, "hidden", watchers - visible)

    def _push(self, account: AccountId, state: Seen, watchers: Collection[AccountId]) -> None:
        update = msgspec.json.encode(PresenceChanged(p=[(str(account), state)]))
        for watcher in watchers:
            self._delivery.ephemeral(watcher, update)

    async def _states(self, accounts: Collection[AccountId]) -> dict[AccountId, Seen]:
        """What is true, before anybody's privacy."""
        asked = list(accounts)
        sessions = [("HGETALL", session_key(one)) for one in asked]
        seen = [("GET", seen_key(one)) for one in asked]
        replies = await self._bus.ask_all([*sessions, *seen]) if asked else []
        today = self._now_ms() // (DAY_S * 1_000)
        states: dict[AccountId, Seen] = {}
        for n, one in enumerate(asked):
            day = replies[len(asked) + n]
            online = bool(self._live(replies[n]))
            states[one] = "online" if online else bucket(None if day is None else today - int(day))
        return states

    def _live(self, reply: Sequence[bytes] | dict[bytes, bytes]) -> list[bytes]:
        """Fields of `sess:{A}` whose lease is not over."""
        now_s = self._now_ms() // 1_000
        if isinstance(reply, dict):  # RESP3
            pairs = list(reply.items())
        else:
            pairs = list(zip(reply[::2], reply[1::2], strict=True))
        return [field for field, until in pairs if int(until) > now_s]


def _field(caller: Caller) -> str:
    """One field per session, not per device: the older session's end must not hide the newer."""
    return f"{caller.device}:{caller.session}"


def _watcher(caller: Caller) -> str:
    """A member of `watch:{A}`: of one session, so that its end takes nobody else's away."""
    return f"{caller.account}.{caller.session or caller.device}"
