"""What owners see of their channel: who came and left, how posts were seen and how soon.

Numbers are gathered in memory and written every few seconds; a node that dies takes the last of
them along. Exact are the number of members and the views, which are the store's own.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping

from channels.following import DAY_MS, Following
from channels.measuring import Delays
from channels.protocol import Day, Delivered, Figures, PostFigures, Statistics
from channels.standing import Seats
from channels.store.figures import FigureStore
from channels.store.views import PostStat, Reader, ViewStore
from channels.views import Span, percentile
from messenger.chats.wire_ids import chat_of
from messenger.db.engine import StoreDown
from messenger.feature import Caller
from messenger.ids import ChatId
from messenger.log.events import Right

EVERY_S = 5.0
CURVE_EVERY = 6  # rounds
HOUR = 3_600
AGES_S = (60, 300, 900, HOUR, 3 * HOUR, 6 * HOUR, 12 * HOUR, 24 * HOUR, 48 * HOUR, 168 * HOUR)
POSTS = 20  # the newest of a channel, whose curves are drawn
CHANNELS = 500  # looked at in one round; the others wait for the next

log = logging.getLogger(__name__)


class Figuring:
    """The rpc `channels.statistics`, and the task that writes what was counted."""

    def __init__(
        self,
        store: FigureStore,
        views: ViewStore,
        seats: Seats,
        following: Following,
        delays: Delays,
        now_ms: Callable[[], int],
    ) -> None:
        self._store = store
        self._views = views
        self._seats = seats
        self._following = following
        self._delays = delays
        self._now_ms = now_ms
        self._moved: set[ChatId] = set()

    def moved(self, moved: Mapping[Reader, Span]) -> None:
        """Views were counted: their channels' curves have a new point."""
        self._moved.update(chat for chat, _ in moved)

    async def statistics(self, request: Statistics, caller: Caller) -> Figures:
        """For admins who may see statistics."""
        chat = chat_of(request.chat)
        row, _ = await self._seats.admin(chat, caller.account, Right.STATISTICS)
        today = self._now_ms() // DAY_MS
        days = await self._store.days(chat, today - request.days + 1)
        newest = await self._store.newest(chat, request.posts) if request.posts else []
        return Figures(
            members=row.member_count,
            days=[
                Day(
                    one.day,
                    one.members,
                    one.lost,
                    one.by_link,
                    one.by_name,
                    one.by_request,
                    one.by_admin,
                )
                for one in days
            ],
            posts=await self._posts(chat, dict(newest)),
        )

    async def run(self) -> None:
        """Write what was counted, until cancelled."""
        rounds = 0
        while True:
            await asyncio.sleep(EVERY_S)
            rounds += 1
            try:
                await self.write()
                if rounds % CURVE_EVERY == 0:
                    await self.draw()
            except StoreDown:
                log.warning("figures of channels are lost: the database is away")
            except Exception:  # the root of a task
                log.exception("figures of channels not written")

    async def write(self) -> None:
        """Days and delays."""
        await self._store.add_days(self._following.take_days())
        await self._store.add_delivery(self._delays.take())

    async def draw(self) -> None:
        """A point on the curve of each post that was seen since the last one."""
        chats = sorted(self._moved)[:CHANNELS]
        self._moved.difference_update(chats)
        for chat in chats:
            now = self._now_ms()
            ages = {
                seq: age
                for seq, at in await self._store.newest(chat, POSTS)
                if (age := age_of((now - at) // 1_000)) is not None
            }
            views = await self._views.views(chat, sorted(ages))
            points = [(seq, age, views[seq]) for seq, age in ages.items()]
            await self._store.put_curve(chat, points)

    async def _posts(self, chat: ChatId, newest: Mapping[int, int]) -> list[PostFigures]:
        seqs = sorted(newest)
        if not seqs:
            return []
        views = await self._views.views(chat, seqs)
        stats = await self._views.stats(chat, seqs)
        curves = await self._store.curves(chat, seqs)
        delays = await self._store.deliveries(chat, seqs)
        found = []
        for seq in reversed(seqs):
            stat, delay = stats.get(seq, PostStat()), delays.get(seq, [])
            found.append(
                PostFigures(
                    seq=seq,
                    at=newest[seq],
                    views=views[seq],
                    forwards=stat.forwards,
                    reach=stat.reach,
                    reactions=stat.reactions,
                    curve=curves.get(seq, []),
                    delivered=Delivered(
                        sum(readers for _, readers in delay),
                        percentile(delay, 0.50),
                        percentile(delay, 0.95),
                        percentile(delay, 0.99),
                    ),
                )
            )
        return found


def age_of(seconds: int) -> int | None:
    """The age within which a post is; None for one whose curve is drawn to its end."""
    return next((age for age in AGES_S if seconds <= age), None)
