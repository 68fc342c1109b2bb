"""Channels: what the core asks of them, and their rpcs and tasks.

Two steps, because each side needs the other: `assemble` makes what chats and messages are given,
`create` makes the feature once they are there.
"""

import time
from collections.abc import Callable, Sequence

from msgspec import Struct

from channels import protocol as wire
from channels.creating import Owning
from channels.discovery import Discovery
from channels.facts import ChannelFacts
from channels.following import Following
from channels.measuring import Delays
from channels.moderating import Moderating
from channels.posting import Posting
from channels.reach import Reach
from channels.sanctions import Sanctioned
from channels.standing import Seats
from channels.statistics import Figuring
from channels.store.directory import DirectoryStore
from channels.store.figures import FigureStore
from channels.store.follows import FollowStore
from channels.store.offers import OfferStore
from channels.store.reports import ReportStore
from channels.store.views import ViewStore
from channels.viewing import Viewing
from messenger.accounts.store.people import PeopleStore
from messenger.bus.bus import Bus
from messenger.chats.groups import Groups
from messenger.chats.objects import Views
from messenger.chats.store.chats import ChatRows
from messenger.db.engine import Database
from messenger.feature import Background, Feature, Rpc, Shed
from messenger.ids import ChatId
from messenger.limits import Limits
from messenger.log.store import ChatStore


class Channels(Struct, frozen=True):
    """The parts of this package; what the core is given stands first."""

    rules: Following
    """For chats."""
    posts: Posting
    """For messages."""
    facts: ChannelFacts
    """`audience` is for delivery."""
    seats: Seats
    viewing: Viewing
    reach: Reach
    delays: Delays
    """`delivered` is for the gateway, which sets `after_bulk`."""
    figuring: Figuring
    gate: Sanctioned
    """For messages: what sanctions forbid."""
    discovery: Discovery
    db: Database
    mint: Callable[[], int]
    chat_log: ChatStore
    now_ms: Callable[[], int]

    def on_delivered(self, topic: str, update: bytes, readers: int) -> None:
        """An update of an open chat goes to `readers` sessions of this node."""
        chat = ChatId(int(topic.partition(":")[2]))
        if self.facts.peek(chat) is not None:  # else a group, or a channel just met
            self.delays.delivered(chat, update, readers)


def wall_ms() -> int:
    return int(time.time() * 1000)


def assemble(
    db: Database,
    bus: Bus,
    limits: Limits,
    people: PeopleStore,
    chat_log: ChatStore,
    mint: Callable[[], int],
    *,
    now_ms: Callable[[], int] = wall_ms,
) -> Channels:
    """What the core needs of channels before its own features are made."""
    chats, views = ChatRows(db), ViewStore(db)
    facts, seats = ChannelFacts(chats, now_ms), Seats(chats, now_ms)
    reach = Reach(bus, facts, views)
    gate = Sanctioned(ReportStore(db), now_ms)
    discovery = Discovery(DirectoryStore(db), chats, gate, bus, now_ms)
    rules = Following(FollowStore(db), facts, limits, now_ms, gate, discovery.changed)
    delays = Delays(now_ms)
    figuring = Figuring(FigureStore(db), views, seats, rules, delays, now_ms)
    viewing = Viewing(views, chat_log, reach, figuring.moved)
    return Channels(
        rules=rules,
        posts=Posting(facts, seats, people, chat_log, viewing, now_ms),
        facts=facts,
        seats=seats,
        viewing=viewing,
        reach=reach,
        delays=delays,
        figuring=figuring,
        gate=gate,
        discovery=discovery,
        mint=mint,
        chat_log=chat_log,
        db=db,
        now_ms=now_ms,
    )


def create(channels: Channels, groups: Groups, views: Views) -> Feature:
    """The rpcs, and the tasks behind them."""
    offers = OfferStore(channels.db)
    owning = Owning(channels.seats, groups, offers, channels.now_ms)
    moderating = Moderating(
        ReportStore(channels.db),
        channels.gate,
        channels.seats,
        offers,
        channels.chat_log,
        channels.mint,
        channels.now_ms,
        channels.rules.changed,
    )
    finding = channels.discovery.rpcs(views)
    return Feature(
        "channels",
        rpcs=(
            *_owning(owning),
            *_posts(channels),
            *_moderating(moderating),
            Rpc("channels.search", wire.Search, finding.search, limits=("search",)),
            Rpc("channels.suggest", wire.Suggest, finding.suggest, limits=("search",)),
        ),
        tasks=(
            Background("channels.facts", channels.facts.run),
            Background("channels.views", channels.viewing.run),
            Background("channels.reach", channels.reach.run),
            Background("channels.figures", channels.figuring.run),
            Background("channels.sanctions", channels.gate.run),
            Background("channels.directory", channels.discovery.run),
        ),
    )


def _owning(owning: Owning) -> Sequence[Rpc]:
    return [
        Rpc("channels.configure", wire.Configure, owning.configure, limits=("msg.account",)),
        Rpc("channels.transfer", wire.Transfer, owning.transfer, limits=("msg.account",)),
        Rpc(
            "channels.answer_transfer",
            wire.AnswerTransfer,
            owning.answer_transfer,
            limits=("msg.account",),
        ),
        Rpc("channels.log", wire.Log, owning.log, limits=("history",), shed=Shed.HISTORY),
    ]


def _moderating(moderating: Moderating) -> Sequence[Rpc]:
    often, seldom = ("history",), ("msg.account",)
    return [
        Rpc("channels.reports", wire.Reports, moderating.reports, limits=often),
        Rpc("channels.take_report", wire.OneReport, moderating.take, limits=seldom),
        Rpc("channels.decide_report", wire.Decide, moderating.decide, limits=seldom),
        Rpc("channels.sanctions", wire.OfChannel, moderating.sanctions, limits=often),
        Rpc("channels.appeal", wire.Appeal, moderating.appeal, limits=seldom),
        Rpc("channels.decide_appeal", wire.DecideAppeal, moderating.decide_appeal, limits=seldom),
    ]


def _posts(channels: Channels) -> Sequence[Rpc]:
    viewing = channels.viewing
    return [
        Rpc(
            "channels.view",
            wire.Views,
            viewing.view,
            limits=("view",),
            results=(wire.Nothing,),
            shed=Shed.VIEWS,
        ),
        Rpc(
            "channels.stats",
            wire.OfPosts,
            viewing.stats,
            limits=("history",),
            shed=Shed.HISTORY,
        ),
        Rpc(
            "channels.statistics",
            wire.Statistics,
            channels.figuring.statistics,
            limits=("history",),
            shed=Shed.HISTORY,
        ),
        Rpc(
            "channels.authors",
            wire.OfPosts,
            channels.posts.authors,
            limits=("history",),
            shed=Shed.HISTORY,
        ),
    ]
