"""Chats: direct ones and groups, who is in them, and what each keeps of them."""

import time
from collections.abc import Callable, Sequence

import msgspec
from msgspec import Struct

from messenger.accounts.feature import Accounts
from messenger.accounts.store.relations import RelationStore
from messenger.chats import protocol
from messenger.chats.creating import Creating
from messenger.chats.departing import Departing
from messenger.chats.direct import Directs
from messenger.chats.groups import Groups
from messenger.chats.invites import Invites
from messenger.chats.listing import Listing
from messenger.chats.membership import Memberships
from messenger.chats.objects import Views
from messenger.chats.outbox import Outbox
from messenger.chats.personal import Personal
from messenger.chats.pinning import MessagesOf, Pinning
from messenger.chats.rules import ChannelRules
from messenger.chats.store.changes import Changes
from messenger.chats.store.chats import ChatRows
from messenger.chats.store.links import Links
from messenger.chats.store.mine import Mine
from messenger.db.engine import Database
from messenger.delivery.fanout import Delivery
from messenger.feature import Background, Feature, NameGuard, Refused, Rpc
from messenger.ids import AccountId, ChatId
from messenger.limits import Limits
from messenger.log.account_log import AccountLog
from messenger.log.events import OnRecord, off_record
from messenger.log.store import ChatStore
from messenger.settings import Settings
from messenger.wire.codes import ErrorCode


class Chats(Struct, frozen=True):
    """The parts of this package; what other features may ask stands first."""

    creating: Creating
    """`create_chat` makes a chat of any kind."""
    memberships: Memberships
    """`admit` gives seats."""
    views: Views
    """Chat objects; `public` is what `accounts.resolve` shows."""
    outbox: Outbox
    directs: Directs
    groups: Groups
    invites: Invites
    personal: Personal
    listing: Listing
    pinning: Pinning
    departing: Departing
    """`depart` takes an account that is gone for good out of its chats."""


def wall_ms() -> int:
    return int(time.time() * 1000)


async def no_messages(
    _account: AccountId, _chat: ChatId, _seqs: Sequence[int]
) -> Sequence[msgspec.Raw]:
    """For platforms without the feature messages."""
    raise Refused(ErrorCode.FEATURE_OFF, {"feature": "messages"})


def assemble(
    settings: Settings,
    db: Database,
    delivery: Delivery,
    limits: Limits,
    accounts: Accounts,
    mint: Callable[[], int],
    *,
    guards: Sequence[NameGuard] = (),
    messages_of: MessagesOf = no_messages,
    on_record: OnRecord = off_record,
    channels: ChannelRules | None = None,
    now_ms: Callable[[], int] = wall_ms,
) -> Chats:
    """Put the parts together.

    `guards` is read at each call, so that the composition root may fill it later. `messages_of`
    gives `chats.pins` its message objects. Without `channels` none can be made.
    """
    changes, chats, mine, links = Changes(db, on_record), ChatRows(db), Mine(db), Links(db)
    chat_log, account_log, relations = ChatStore(db), AccountLog(db, now_ms), RelationStore(db)
    people = accounts.people
    views = Views(chats, mine, now_ms)
    outbox = Outbox(changes, chats, mine, chat_log, delivery, now_ms)
    creating = Creating(
        changes,
        mine,
        outbox,
        views,
        people,
        accounts.privacy,
        guards,
        mint,
        now_ms,
        settings.small_chat,
        channels,
    )
    memberships = Memberships(
        changes, chats, outbox, creating, people, now_ms, settings.small_chat, channels
    )
    groups = Groups(
        changes, chats, outbox, people, guards, limits, now_ms, settings.small_chat, channels
    )
    return Chats(
        creating=creating,
        memberships=memberships,
        views=views,
        outbox=outbox,
        directs=Directs(
            creating, mine, views, people, relations, accounts.blocks, limits, mint, now_ms
        ),
        groups=groups,
        invites=Invites(links, chats, memberships, creating, views, people, now_ms, channels),
        personal=Personal(mine, chats, delivery, now_ms),
        listing=Listing(views, chats, mine, account_log, now_ms),
        pinning=Pinning(changes, chats, links, chat_log, outbox, messages_of, mint, now_ms),
        departing=Departing(chats, mine, memberships, groups),
    )


def create(chats: Chats) -> Feature:
    """The rpcs, and the task that finishes what a crash cut off."""
    return Feature(
        "chats",
        rpcs=(*_reading(chats), *_making(chats), *_seating(chats), *_personal(chats)),
        tasks=(Background("chats.outbox", chats.outbox.run, worker=True),),
    )


def _reading(chats: Chats) -> Sequence[Rpc]:
    listing, pinning = chats.listing, chats.pinning
    return [
        Rpc("chats.list", protocol.List, listing.list_chats, limits=("sync",)),
        Rpc("chats.get", protocol.Get, listing.get, limits=("sync",)),
        Rpc("chats.members", protocol.Members, listing.members, limits=("history",)),
        Rpc("chats.log", protocol.Log, listing.log, limits=("history",)),
        Rpc("chats.pins", protocol.Chat, pinning.pins, limits=("history",)),
    ]


def _making(chats: Chats) -> Sequence[Rpc]:
    groups, pinning = chats.groups, chats.pinning
    return [
        Rpc("chats.open_direct", protocol.OpenDirect, chats.directs.open_direct, limits=("sync",)),
        Rpc("chats.create", protocol.Create, chats.creating.create, limits=("chat.create",)),
        Rpc("chats.update", protocol.Update, groups.update, limits=("msg.account",)),
        Rpc("chats.transfer", protocol.ChatAccount, groups.transfer, limits=("msg.account",)),
        Rpc("chats.delete", protocol.Chat, groups.delete, limits=("msg.account",)),
        Rpc("chats.pin_message", protocol.PinMessage, pinning.pin_message, limits=("msg.account",)),
        Rpc("chats.report", protocol.Report, pinning.report, limits=("msg.account",)),
    ]


def _seating(chats: Chats) -> Sequence[Rpc]:
    seats, invites = chats.memberships, chats.invites
    return [
        Rpc("chats.add_members", protocol.AddMembers, seats.add_members, limits=("msg.account",)),
        Rpc(
            "chats.remove_member",
            protocol.RemoveMember,
            seats.remove_member,
            limits=("msg.account",),
        ),
        Rpc("chats.set_role", protocol.SetRole, seats.set_role, limits=("msg.account",)),
        Rpc("chats.restrict", protocol.Restrict, seats.restrict, limits=("msg.account",)),
        Rpc("chats.leave", protocol.Chat, seats.leave, limits=("msg.account",)),
        Rpc(
            "chats.join",
            protocol.Join,
            invites.join,
            limits=("chat.join",),
            gates=(invites.doors.check,),
        ),
        Rpc("chats.link_create", protocol.LinkCreate, invites.link_create, limits=("chat.link",)),
        Rpc("chats.links", protocol.Chat, invites.links, limits=("history",)),
        Rpc("chats.link_revoke", protocol.LinkRevoke, invites.link_revoke, limits=("msg.account",)),
        Rpc("chats.requests", protocol.Requests, invites.requests, limits=("history",)),
        Rpc(
            "chats.answer_request",
            protocol.AnswerRequest,
            invites.answer_request,
            limits=("msg.account",),
        ),
    ]


def _personal(chats: Chats) -> Sequence[Rpc]:
    personal = chats.personal
    return [
        Rpc("chats.mute", protocol.Mute, personal.mute, limits=("read",)),
        Rpc("chats.pin", protocol.Pin, personal.pin, limits=("read",)),
        Rpc("chats.folder", protocol.Folder, personal.folder, limits=("read",)),
        Rpc("chats.draft", protocol.Draft, personal.draft, limits=("read",)),
        Rpc("chats.clear", protocol.Clear, personal.clear, limits=("read",)),
    ]
