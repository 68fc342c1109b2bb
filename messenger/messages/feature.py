"""What the messages package offers: the rpcs `messages.*` and the tasks behind them."""

from messenger.db.engine import Database
from messenger.delivery.fanout import Delivery
from messenger.feature import (
    Background,
    Feature,
    Rpc,
    Shed,
    Sheds,
    WriteGate,
    sheds_nothing,
)
from messenger.limits import Limits
from messenger.log.committer import Committer
from messenger.log.events import EventLog
from messenger.log.store import ChatStore
from messenger.messages import protocol as wire
from messenger.messages.aside import Aside
from messenger.messages.cursors import CursorStore, Receipts
from messenger.messages.editing import Editing
from messenger.messages.forwarding import Forwarding
from messenger.messages.history import HistoryReader
from messenger.messages.indexing import Indexer
from messenger.messages.posts import Posts
from messenger.messages.reacting import Reacting
from messenger.messages.reading import Cursors
from messenger.messages.scheduled import Schedule
from messenger.messages.searching import Searching
from messenger.messages.sending import Sending
from messenger.messages.signing import Signing
from messenger.messages.store import MessageStore
from messenger.messages.texts import TextBounds
from messenger.messages.typing import TypingRelay


def cursors(
    db: Database,
    chats: ChatStore,
    delivery: Delivery,
    sheds: Sheds = sheds_nothing,
    is_shedding: Sheds = sheds_nothing,
) -> Cursors:
    """Made before the feature, because the committer's `on_batch` feeds it."""
    receipts = Receipts(db, delivery, sheds)
    return Cursors(CursorStore(db, chats), receipts, is_shedding=is_shedding)


def create(
    db: Database,
    committer: Committer,
    chats: ChatStore,
    events: EventLog,
    delivery: Delivery,
    limits: Limits,
    cursors: Cursors,
    indexer: Indexer,
    bounds: TextBounds = TextBounds(),  # noqa: B008 - frozen
    gate: WriteGate | None = None,
    sheds: Sheds = sheds_nothing,
    posts: Posts | None = None,
) -> Feature:
    """`cursors.own_sends` and `indexer.written` are to be called with every committed batch."""
    store, aside = MessageStore(db, on_record=events.on_record), Aside()
    schedule = Schedule(db, chats, committer, aside, gate=gate)
    signing = Signing(posts) if posts is not None else None
    sending = Sending(committer, schedule, bounds, gate, signing)
    editing = Editing(store, events, delivery, indexer, bounds, gate)
    forwarding = Forwarding(store, chats, committer, limits, gate, posts)
    reacting = Reacting(store, delivery, posts=posts)
    history = HistoryReader(store, reacting.late, posts)
    searching = Searching(db, store, indexer)
    typing = TypingRelay(store, delivery, aside, sheds=sheds)
    account, chat = "msg.account", "msg.chat"
    return Feature(
        "messages",
        rpcs=[
            Rpc(
                "messages.send",
                wire.SendMessage,
                sending.send,
                limits=(account, chat),
                results=(wire.Sent, wire.WillSend),
            ),
            Rpc("messages.edit", wire.EditMessage, editing.edit, limits=(account,)),
            Rpc("messages.delete", wire.DeleteMessages, editing.delete, limits=(account,)),
            Rpc(
                "messages.forward",
                wire.ForwardMessages,
                forwarding.forward,
                limits=(account,),
                results=(wire.Forwarded,),
            ),
            Rpc("messages.react", wire.React, reacting.react, limits=(account,)),
            Rpc(
                "messages.read",
                wire.MoveCursors,
                cursors.read,
                limits=("read",),
                results=(wire.Moved,),
            ),
            Rpc(
                "messages.delivered",
                wire.MoveCursors,
                cursors.delivered,
                limits=("read",),
                results=(wire.Empty,),
            ),
            Rpc(
                "messages.readers",
                wire.AtMessage,
                history.readers,
                limits=("history",),
                shed=Shed.HISTORY,
            ),
            Rpc("messages.get", wire.GetMessages, history.get, limits=("history",)),
            Rpc(
                "messages.history",
                wire.GetHistory,
                history.history,
                limits=("history",),
                shed=Shed.HISTORY,
            ),
            Rpc(
                "messages.search",
                wire.SearchMessages,
                searching.search,
                limits=("search",),
                shed=Shed.HISTORY,
            ),
            Rpc("messages.typing", wire.Typing, typing.typing, limits=("typing.all", "typing")),
            Rpc("messages.scheduled", wire.OfChat, schedule.scheduled, limits=("history",)),
            Rpc("messages.unschedule", wire.Unschedule, schedule.unschedule, limits=(account,)),
        ],
        tasks=[
            Background("cursors", cursors.run),
            Background("indexer", indexer.run),
            Background("reactions", reacting.run),
            Background("schedule", schedule.run, worker=True),
            Background("aside", aside.run),
            *([Background("signing", signing.run)] if signing is not None else []),
        ],
    )
