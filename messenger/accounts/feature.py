"""People, organisations and bots: what they may call, and what other features ask about them."""

from collections.abc import Callable, Sequence

from msgspec import Struct

from messenger.accounts import protocol
from messenger.accounts.blocking import Blocks
from messenger.accounts.codes import CodeSender, sender_of
from messenger.accounts.contacts import Contacts
from messenger.accounts.devices import Devices, OnClosed
from messenger.accounts.housekeeping import Housekeeping
from messenger.accounts.issuing import now_ms as wall_ms
from messenger.accounts.phones import PhoneVault
from messenger.accounts.presence import Presence
from messenger.accounts.privacy import Privacy
from messenger.accounts.profiles import Profiles, ShowChat
from messenger.accounts.refreshing import RefreshTokens
from messenger.accounts.signin import SigningIn
from messenger.accounts.signup import SigningUp
from messenger.accounts.store.devices import CodeStore, DeviceStore
from messenger.accounts.store.people import PeopleStore
from messenger.accounts.store.relations import RelationStore
from messenger.accounts.tickets import Tickets
from messenger.bus.bus import Bus
from messenger.db.engine import Database
from messenger.delivery.fanout import Delivery
from messenger.feature import (
    Access,
    Background,
    Feature,
    NameGuard,
    Rpc,
    Shed,
    Sheds,
    sheds_nothing,
)
from messenger.ids import AccountId, ChatId
from messenger.limits import Limits
from messenger.log.account_log import AccountLog
from messenger.settings import Settings
from messenger.tokens import ConnectionTokens

READ = ("account.read",)
CHANGE = ("account.change",)


class Accounts(Struct, frozen=True):
    """The parts of this package; what other features may ask stands first."""

    people: PeopleStore
    privacy: Privacy
    blocks: Blocks
    profiles: Profiles
    presence: Presence
    """Also the gateway's hooks for sessions that open and close."""
    devices: Devices
    contacts: Contacts
    signing_in: SigningIn
    housekeeping: Housekeeping


async def nothing_left(_account: AccountId) -> None:
    """For platforms without features that act in a person's name."""


async def show_no_chat(_caller: AccountId, _chat: ChatId) -> None:
    """For platforms without the feature chats."""


def assemble(
    settings: Settings,
    db: Database,
    bus: Bus,
    delivery: Delivery,
    limits: Limits,
    tokens: ConnectionTokens,
    mint: Callable[[], int],
    *,
    sender: CodeSender | None = None,
    guards: Sequence[NameGuard] = (),
    show_chat: ShowChat = show_no_chat,
    on_closed: OnClosed = nothing_left,
    on_gone: OnClosed = nothing_left,
    now_ms: Callable[[], int] = wall_ms,
    sheds: Sheds = sheds_nothing,
) -> Accounts:
    """Put the parts together.

    `guards` is read at each call, so that the composition root may fill it later. `sender` is a
    real provider of text messages; None: the one that the setting `code_sender` names. `on_closed`
    is called when a person deletes their account, `on_gone` when they can no longer come back.
    """
    people, relations = PeopleStore(db), RelationStore(db)
    account_log = AccountLog(db, now_ms)
    vault = PhoneVault(settings.pepper)
    codes = CodeStore(db)
    privacy = Privacy(people, relations, lambda account: presence.hidden(account))
    presence = Presence(bus, delivery, privacy, now_ms, sheds)
    profiles = Profiles(people, delivery, limits, guards, show_chat, now_ms)
    devices = Devices(
        DeviceStore(db),
        RefreshTokens(settings.pepper),
        tokens,
        bus,
        delivery,
        presence,
        settings,
        mint,
        now_ms,
        on_closed,
    )
    return Accounts(
        people=people,
        privacy=privacy,
        blocks=Blocks(people, relations, profiles, delivery, now_ms),
        profiles=profiles,
        presence=presence,
        devices=devices,
        contacts=Contacts(
            people, relations, account_log, privacy, profiles, vault, delivery, now_ms
        ),
        signing_in=SigningIn(
            people,
            codes,
            SigningUp(people, vault, mint, now_ms),
            devices,
            vault,
            Tickets(settings.pepper, settings.otp_digits),
            sender or sender_of(settings.code_sender, settings.home),
            limits,
            guards,
            settings,
            now_ms,
        ),
        housekeeping=Housekeeping(people, codes, DeviceStore(db), now_ms, on_gone),
    )


def create(accounts: Accounts) -> Feature:
    """The rpcs and the tasks. `accounts.push_token` comes with push delivery."""
    return Feature(
        "accounts",
        rpcs=(*_signing_in(accounts), *_own(accounts), *_others(accounts)),
        tasks=(
            Background("accounts.presence", accounts.presence.run),
            Background("accounts.revocations", accounts.devices.run),
            Background("accounts.blocks", accounts.blocks.run, worker=True),
            Background("accounts.housekeeping", accounts.housekeeping.run, worker=True),
        ),
    )


def _signing_in(accounts: Accounts) -> Sequence[Rpc]:
    """The three methods that make tokens; the HTTP door counts calls by address."""
    signing_in, devices, access = accounts.signing_in, accounts.devices, Access.HTTP
    return (
        Rpc(
            "accounts.request_code",
            protocol.RequestCode,
            signing_in.request_code,
            access=access,
            shed=Shed.SIGN_INS,
        ),
        Rpc(
            "accounts.sign_in",
            protocol.SignIn,
            signing_in.sign_in,
            access=access,
            shed=Shed.SIGN_INS,
        ),
        Rpc("accounts.token", protocol.Refresh, devices.token, access=access),
    )


def _own(accounts: Accounts) -> Sequence[Rpc]:
    """One's own account and devices."""
    devices, privacy = accounts.devices, accounts.privacy
    return (
        Rpc("accounts.me", protocol.Nothing, accounts.profiles.me, limits=READ),
        Rpc("accounts.update", protocol.Update, accounts.profiles.update, limits=CHANGE),
        Rpc("accounts.privacy", protocol.SetPrivacy, privacy.privacy, limits=CHANGE),
        Rpc("accounts.sessions", protocol.Nothing, devices.sessions, limits=READ),
        Rpc("accounts.revoke_session", protocol.RevokeSession, devices.revoke_session),
        Rpc("accounts.sign_out", protocol.Nothing, devices.sign_out),
        Rpc("accounts.delete", protocol.Delete, accounts.signing_in.delete),
    )


def _others(accounts: Accounts) -> Sequence[Rpc]:
    """Other people."""
    blocks, contacts, presence = accounts.blocks, accounts.contacts, accounts.presence
    asking = ("presence",)
    return (
        Rpc("accounts.get", protocol.Get, accounts.profiles.get, limits=READ),
        Rpc("accounts.resolve", protocol.Resolve, accounts.profiles.resolve, limits=("resolve",)),
        Rpc(
            "accounts.import_contacts",
            protocol.ImportContacts,
            contacts.import_contacts,
            limits=("contacts.import",),
        ),
        Rpc("accounts.contacts", protocol.After, contacts.contacts, limits=READ),
        Rpc(
            "accounts.remove_contact",
            protocol.RemoveContact,
            contacts.remove_contact,
            limits=CHANGE,
        ),
        Rpc("accounts.block", protocol.Block, blocks.block, limits=CHANGE),
        Rpc("accounts.blocked", protocol.After, blocks.blocked, limits=READ),
        Rpc(
            "accounts.presence",
            protocol.Watch,
            presence.presence,
            limits=asking,
            shed=Shed.PRESENCE,
        ),
        Rpc("accounts.watch", protocol.Watch, presence.watch, limits=asking, shed=Shed.PRESENCE),
    )
