"""What the sync package offers: the rpcs by which devices catch up."""

from messenger.db.engine import Database
from messenger.feature import Feature, Rpc
from messenger.log.account_log import AccountLog
from messenger.log.store import ChatStore
from messenger.messages.feed import ChatFeed
from messenger.metrics import Count, Labelled
from messenger.sync.account_events import AccountEvents
from messenger.sync.difference import Differences
from messenger.sync.heads import HeadReader, HeadStore, WatchBig
from messenger.sync.protocol import Check, GetDifference, GetHeads


def create(
    db: Database,
    chats: ChatStore,
    accounts: AccountLog,
    feed: ChatFeed,
    watch_big: WatchBig,
    slice_events: int,
    counts: Labelled[Count] | None = None,
) -> Feature:
    """`watch_big` returns once the caller's session will be told of new heads of these chats."""
    store = HeadStore(db, chats)
    heads = HeadReader(store, accounts, watch_big)
    facts = AccountEvents(accounts)
    differences = Differences(store, feed, facts, slice_events, counts or Labelled(Count))
    return Feature(
        "sync",
        rpcs=[
            Rpc("sync.heads", GetHeads, heads.heads, limits=("sync",)),
            Rpc("sync.difference", GetDifference, differences.difference, limits=("sync",)),
            Rpc("sync.check", Check, heads.check, limits=("sync",)),
        ],
    )
