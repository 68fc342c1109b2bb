"""What goes over the wire for `accounts.*`: requests, results and updates, bounds in the types.

Strings that have an error code of their own (phone, code, username) are bounded here only against
abuse; their rules, and their refusals, are in the module that owns them.
"""

from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from messenger.badges import Badge
from messenger.ids import WireId

Phone = Annotated[str, Meta(max_length=32)]
Ticket = Annotated[str, Meta(max_length=256)]
Code = Annotated[str, Meta(max_length=16)]
Name = Annotated[str, Meta(min_length=1, max_length=64)]
Label = Annotated[str, Meta(max_length=64)]
Page = Annotated[str, Meta(max_length=32)]
Audience = Literal["everyone", "contacts", "nobody"]
Seen = Literal["online", "recently", "week", "month", "hidden"]

GET_MAX = 100
WATCH_MAX = 50
IMPORT_MAX = 500
Ids = Annotated[list[WireId], Meta(max_length=GET_MAX)]
FewIds = Annotated[list[WireId], Meta(max_length=WATCH_MAX)]


class Nothing(Struct, frozen=True):
    """A request or a result without fields."""


# Signing in: HTTP only


class RequestCode(Struct, frozen=True, kw_only=True):
    phone: Phone
    lang: Annotated[str, Meta(max_length=16)] | None = None
    """Language of the text message, for senders that have several."""


class CodeRequested(Struct, frozen=True, kw_only=True):
    ticket: str
    via: Literal["sms", "app"] = "sms"
    length: int
    expires_in_s: int
    resend_in_s: int


class DeviceLabel(Struct, frozen=True, kw_only=True):
    name: Annotated[str, Meta(min_length=1, max_length=64)]
    platform: Annotated[str, Meta(max_length=32)]
    app: Annotated[str, Meta(max_length=32)]


class SignIn(Struct, frozen=True, kw_only=True):
    ticket: Ticket
    code: Code
    device: DeviceLabel
    name: Name | None = None
    """Needed once, when the phone has no account yet."""


class SignedIn(Struct, frozen=True, kw_only=True):
    account: str
    device_id: str
    token: str
    ttl_s: int
    refresh: str
    new: bool


class Refresh(Struct, frozen=True, kw_only=True):
    refresh: Annotated[str, Meta(max_length=256)]


class Tokens(Struct, frozen=True, kw_only=True):
    token: str
    ttl_s: int
    refresh: str


class Delete(Struct, frozen=True, kw_only=True):
    ticket: Ticket
    code: Code


# Profiles


class Account(Struct, frozen=True, kw_only=True, omit_defaults=True):
    id: str
    name: str
    kind: Literal["person", "bot", "org"]
    username: str | None = None
    about: str | None = None
    photo: str | None = None
    badge: Badge | None = None


class AccountList(Struct, frozen=True):
    accounts: list[Account]


class AccountPage(Struct, frozen=True, omit_defaults=True):
    accounts: list[Account]
    next: str | None = None


class Get(Struct, frozen=True, kw_only=True):
    ids: Ids


class Resolve(Struct, frozen=True, kw_only=True):
    username: Label


class Update(Struct, frozen=True, kw_only=True):
    """Fields left out stay as they are; an empty about or username, and a null photo, go away."""

    name: Name | UnsetType = UNSET
    about: Annotated[str, Meta(max_length=140)] | UnsetType = UNSET
    username: Label | UnsetType = UNSET
    photo: WireId | UnsetType | None = UNSET


# Devices


class Session(Struct, frozen=True, kw_only=True):
    device_id: str
    name: str
    platform: str
    app: str
    created: int
    seen_day: int
    """Days since 1970, UTC: precise enough to find a forgotten device."""
    online: bool
    current: bool


class SessionList(Struct, frozen=True):
    sessions: list[Session]


class RevokeSession(Struct, frozen=True, kw_only=True):
    device_id: Annotated[str, Meta(pattern=r"^([1-9][0-9]{0,18}|others)$")]


class Revoked(Struct, frozen=True):
    revoked: list[str]


# Contacts and blocks


class ImportContacts(Struct, frozen=True, kw_only=True):
    phones: Annotated[list[Phone], Meta(max_length=IMPORT_MAX)]
    names: Annotated[list[Label], Meta(max_length=IMPORT_MAX)] | None = None
    """The address book's own names, one for each phone, in the same order."""


class Match(Struct, frozen=True, kw_only=True):
    phone: str
    """As it was sent, so that the client finds its address-book entry."""
    account: Account


class Matches(Struct, frozen=True):
    matched: list[Match]


class Contact(Struct, frozen=True, kw_only=True):
    account: Account
    name: str


class After(Struct, frozen=True, kw_only=True):
    after: Page | None = None


class ContactPage(Struct, frozen=True, omit_defaults=True):
    contacts: list[Contact]
    next: str | None = None


class RemoveContact(Struct, frozen=True, kw_only=True):
    account: WireId


class Block(Struct, frozen=True, kw_only=True):
    account: WireId
    on: bool


class Noted(Struct, frozen=True):
    """The number of the account fact just made; an unchanged state answers the current one."""

    aev: int


# Privacy and presence


class PrivacySet(Struct, frozen=True, kw_only=True):
    last_seen: Audience | UnsetType = UNSET
    add_to_groups: Audience | UnsetType = UNSET
    find_by_phone: Audience | UnsetType = UNSET
    who_may_call: Audience | UnsetType = UNSET
    hide_ip: Literal["never", "always"] | UnsetType = UNSET
    call_waiting: bool | UnsetType = UNSET


class SetPrivacy(Struct, frozen=True, kw_only=True):
    set: PrivacySet | None = None


class PrivacySettings(Struct, frozen=True, kw_only=True):
    """What everyone starts with, and the shape in which it is stored."""

    last_seen: Audience = "everyone"
    add_to_groups: Audience = "everyone"
    find_by_phone: Audience = "everyone"
    who_may_call: Audience = "contacts"
    hide_ip: Literal["never", "always"] = "never"
    call_waiting: bool = True


class Watch(Struct, frozen=True, kw_only=True):
    ids: FewIds


class PresenceList(Struct, frozen=True):
    presence: list[tuple[str, Seen]]


# Updates


class Profile(Struct, frozen=True, kw_only=True, tag_field="t", tag="profile"):
    aev: int
    account: Account


class SessionNew(Struct, frozen=True, kw_only=True, tag_field="t", tag="session.new"):
    aev: int
    device_id: str
    name: str
    platform: str
    at: int


class SessionRevoked(Struct, frozen=True, kw_only=True, tag_field="t", tag="session.revoked"):
    aev: int
    device_id: str


class ContactsChanged(Struct, frozen=True, kw_only=True, tag_field="t", tag="contact"):
    aev: int
    accounts: list[str]
    on: bool


class Blocked(Struct, frozen=True, kw_only=True, tag_field="t", tag="blocked"):
    aev: int
    account: str
    on: bool


class PresenceChanged(Struct, frozen=True, kw_only=True, tag_field="t", tag="presence"):
    p: list[tuple[str, Seen]]
