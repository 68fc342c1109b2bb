"""Accounts, and the two look-ups that reserve an id or a name for one."""

from collections.abc import Callable, Collection, Mapping
from enum import IntEnum, unique
from typing import Any

import msgspec
from msgspec import Struct

from messenger.accounts.protocol import PrivacySettings
from messenger.accounts.store.rows import execute, rows
from messenger.badges import BadgeFact
from messenger.db.engine import Database
from messenger.db.statements import Statement
from messenger.ids import AccountId
from messenger.log.account_log import APPEND, AccountKind

_PERSON = (
    "account_id, kind, name, username, about, photo_id, phone_hash, status, badge, badge_epoch"
)
OWNER_OF_PHONE = Statement("select account_id from phone where phone_hash = $1", key="phone_hash")
OWNERS_OF_PHONES = Statement(
    "select phone_hash, account_id from phone where phone_hash = any($1::bytea[])",
    key="phone_hash",
    cold=True,  # address books: many shards by nature
)
RESERVE_PHONE = Statement(
    "insert into phone(phone_hash, account_id) values ($1, $2)"
    " on conflict (phone_hash) do nothing returning account_id",
    key="phone_hash",
)
FREE_PHONE = Statement(
    "delete from phone where phone_hash = $1 and account_id = $2", key="phone_hash"
)
PUT_ACCOUNT = Statement(
    "select a from put_account($1, $2, $3, $4, $5, $6, $7) a where a is not null",
    key="account_id",
)
STATUS = Statement("select status from account where account_id = $1", key="account_id")
PEOPLE = Statement(
    f"select {_PERSON} from account where account_id = any($1::bigint[])",  # noqa: S608 - constant
    key="account_id",
    cold=True,  # a list of strangers lies on many shards
)
PRIVACY = Statement(
    "select account_id, privacy from account where account_id = any($1::bigint[]) and status = 0",
    key="account_id",
    cold=True,
)
SET_PRIVACY = Statement(
    "update account set privacy = coalesce(privacy, '{}') || $2::jsonb"
    " where account_id = $1 returning privacy",
    key="account_id",
)
UPDATE = Statement(
    "with before as (select name as old_name, about as old_about,"  # noqa: S608 - constants
    " username as old_username, photo_id as old_photo from account"
    " where account_id = $1 and status = 0 for update)"
    " update account set name = coalesce($2, name), name_fold = coalesce($3, name_fold),"
    " about = nullif(coalesce($4, about), ''), username = nullif(coalesce($5, username), ''),"
    " photo_id = case when $6 then null else photo_id end"
    f" from before where account_id = $1 returning {_PERSON},"
    " old_username, (name, about, username, photo_id)"
    " is distinct from (old_name, old_about, old_username, old_photo)",
    key="account_id",
)
CLAIM_NAME = Statement(
    "insert into username as u (name_fold, kind, target_id, tombstone_until)"
    " values ($1, $2, $3, -$4::bigint) on conflict (name_fold) do update"
    " set kind = excluded.kind, target_id = excluded.target_id,"
    " tombstone_until = case when u.tombstone_until = 0 then 0 else excluded.tombstone_until end"
    " where (u.kind = excluded.kind and u.target_id = excluded.target_id)"
    " or (u.tombstone_until > 0 and u.tombstone_until <= $4 and not u.frozen)",
    key="name_fold",
)
RELEASE_NAME = Statement(
    "update username set tombstone_until = $4"
    " where name_fold = $1 and kind = $2 and target_id = $3 and not frozen",
    key="name_fold",
)
OWNER_OF_NAME = Statement(
    "select kind, target_id, frozen from username where name_fold = $1 and tombstone_until <= 0",
    key="name_fold",
)
CLAIMED = Statement(
    "select name_fold, kind, target_id, tombstone_until from username"
    " where tombstone_until < 0 and tombstone_until > $1 limit $2",
    key="name_fold",
    cold=True,
)
CARRIED_BY = {
    1: Statement("select username from account where account_id = $1", key="account_id"),
    2: Statement("select username from chat where chat_id = $1", key="chat_id"),
}
SETTLE_NAME = Statement(
    "update username set tombstone_until = $3"
    " where name_fold = $1 and tombstone_until = $2 and not frozen",
    key="name_fold",
)
DELETED_BEFORE = Statement(
    "select account_id, phone_hash, username from account"
    " where deleted_at < $1 and deleted_at is not null and status = 1 limit $2",
    key="account_id",
    cold=True,
)
FORGET = Statement(
    "update account set status = 2, name = '', name_fold = '', about = null, photo_id = null,"
    " username = null, phone_enc = null, privacy = null"
    " where account_id = $1 and status = 1 and deleted_at < $2",
    key="account_id",
)
FORGET_CONTACTS = Statement("delete from contact where account_id = $1", key="account_id")
FORGET_BLOCKS = Statement("delete from block where account_id = $1", key="account_id")
FORGET_PHONE_HASH = Statement(
    "update account set phone_hash = null, deleted_at = null where account_id = $1 and status = 2",
    key="account_id",
)
UNFINISHED = Statement(
    "select account_id, phone_hash from account"
    " where deleted_at is not null and status = 2 limit $1",
    key="account_id",
    cold=True,
)


@unique
class Status(IntEnum):
    """`account.status`."""

    ACTIVE = 0
    DELETED = 1
    """Can be undone by signing in, until the housekeeping comes."""
    GONE = 2


@unique
class NameKind(IntEnum):
    """`username.kind`: what a username stands for."""

    ACCOUNT = 1
    CHAT = 2


class Person(Struct, frozen=True):
    """A row of `account`."""

    account: AccountId
    kind: int
    name: str
    username: str | None
    about: str | None
    photo: int | None
    phone_hash: bytes | None
    status: Status
    badge: BadgeFact | None
    badge_epoch: int


class Updated(Struct, frozen=True):
    """A changed account."""

    person: Person
    username_before: str | None
    """As the change itself found it, whatever ran at the same time."""
    aev: int | None
    """None: it was so already."""


class Named(Struct, frozen=True):
    """Who holds a username."""

    kind: NameKind
    target: int
    frozen: bool


class Doomed(Struct, frozen=True):
    """A deleted account whose time to come back is over."""

    account: AccountId
    phone_hash: bytes | None
    username: str | None


class PeopleStore:
    """Reads and writes accounts, phones and usernames."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def owner_of_phone(self, phone_hash: bytes) -> AccountId | None:
        found = await rows(self._db, OWNER_OF_PHONE, phone_hash)
        return found[0][0] if found else None

    async def owners_of_phones(self, hashes: list[bytes]) -> dict[bytes, AccountId]:
        found = await rows(self._db, OWNERS_OF_PHONES, hashes)
        return {bytes(phone_hash): account for phone_hash, account in found}

    async def reserve_phone(self, phone_hash: bytes, account: AccountId) -> AccountId:
        """Give the phone to `account`, unless it is somebody's already; returns whose it is."""
        if await rows(self._db, RESERVE_PHONE, phone_hash, account):
            return account
        owner = await self.owner_of_phone(phone_hash)
        return account if owner is None else owner

    async def free_phone(self, phone_hash: bytes, account: AccountId) -> None:
        await execute(self._db, FREE_PHONE, phone_hash, account)

    async def put_account(
        self, account: AccountId, name: str, name_fold: str, phone: tuple[bytes, bytes], now_ms: int
    ) -> bool:
        """Write the owner row of a reserved phone (hash, sealed); False when it is there already.

        Repeatable: whoever comes second finds the row of the first.
        """
        values = (account, name, name_fold, *phone, now_ms, now_ms // 86_400_000)
        return bool(await rows(self._db, PUT_ACCOUNT, *values))

    async def status(self, account: AccountId) -> Status | None:
        found = await rows(self._db, STATUS, account)
        return Status(found[0][0]) if found else None

    async def people(self, accounts: Collection[int]) -> dict[AccountId, Person]:
        """Those of `accounts` that exist, deleted ones left out."""
        if not accounts:
            return {}
        found = [_person(row) for row in await rows(self._db, PEOPLE, list(accounts))]
        return {one.account: one for one in found if one.status is Status.ACTIVE}

    async def privacy(self, accounts: Collection[int]) -> dict[AccountId, PrivacySettings]:
        """The settings of those of `accounts` that exist."""
        if not accounts:
            return {}
        found = await rows(self._db, PRIVACY, list(accounts))
        return {row[0]: msgspec.convert(row[1] or {}, PrivacySettings) for row in found}

    async def set_privacy(
        self, account: AccountId, changes: dict[str, object]
    ) -> PrivacySettings | None:
        """Change the named keys, leave the others; the settings after it."""
        text = msgspec.json.encode(changes).decode()
        found = await rows(self._db, SET_PRIVACY, account, text)
        return msgspec.convert(found[0][0], PrivacySettings) if found else None

    async def update(
        self,
        account: AccountId,
        *,
        name: tuple[str, str] | None,
        about: str | None,
        username: str | None,
        drop_photo: bool,
        now_ms: int,
        fact: Callable[[Person], Mapping[str, object]],
    ) -> Updated | None:
        """Set what is not None, "" clears, and append `fact` where that changed anything.

        `name` comes with its folded form. None: the account is gone.
        """
        plain, fold = name or (None, None)
        values = (account, plain, fold, about, username, drop_photo)
        async with self._db.transaction() as connection:
            row = (await connection.exec_driver_sql(UPDATE.sql, values)).fetchone()
            if row is None:
                return None
            *columns, before, changed = list[Any](row)
            person = _person(tuple(columns))
            aev = None
            if changed:
                text = msgspec.json.encode(fact(person)).decode()
                event = (now_ms, account, int(AccountKind.PROFILE), 0, text)
                aev = (await connection.exec_driver_sql(APPEND.sql, event)).scalar_one()
        return Updated(person, before, aev)

    async def claim_name(self, name: str, kind: NameKind, target: int, now_ms: int) -> bool:
        """Make the username the target's; False when it is another's. One winner of a race."""
        return bool(await execute(self._db, CLAIM_NAME, name, int(kind), target, now_ms))

    async def settle_names(self, before_ms: int, now_ms: int, limit: int) -> int:
        """Free the names claimed before then that nobody carries; how many claims were looked at.

        The process died between the claim and the change that it was for.
        """
        claims = await rows(self._db, CLAIMED, -before_ms, limit)
        for name, kind, target, claimed in claims:
            found = await rows(self._db, CARRIED_BY[kind], target)
            carried = bool(found) and found[0][0] == name
            await execute(self._db, SETTLE_NAME, name, claimed, 0 if carried else now_ms)
        return len(claims)

    async def release_name(self, name: str, kind: NameKind, target: int, until_ms: int) -> bool:
        """Leave the username to nobody until `until_ms`; False when frozen or not the target's."""
        return bool(await execute(self._db, RELEASE_NAME, name, int(kind), target, until_ms))

    async def owner_of_name(self, name: str) -> Named | None:
        found = await rows(self._db, OWNER_OF_NAME, name)
        return Named(NameKind(found[0][0]), found[0][1], found[0][2]) if found else None

    async def doomed(self, before_ms: int, limit: int) -> list[Doomed]:
        """Accounts deleted before then, and those whose forgetting was cut off half-way."""
        found = await rows(self._db, DELETED_BEFORE, before_ms, limit)
        half = await rows(self._db, UNFINISHED, limit)
        return [Doomed(*row) for row in found] + [Doomed(row[0], row[1], None) for row in half]

    async def forget(self, doomed: Doomed, before_ms: int, tombstone_until: int) -> bool:
        """Wipe one account but for the last step, `forgotten`; False: its person came back in time.

        Each step may be repeated. From the first one on nobody signs in to it any more.
        """
        account = doomed.account
        gone = await execute(self._db, FORGET, account, before_ms)
        if not gone and await self.status(account) is not Status.GONE:
            return False
        if doomed.username:
            await self.release_name(doomed.username, NameKind.ACCOUNT, account, tombstone_until)
        await execute(self._db, FORGET_CONTACTS, account)
        await execute(self._db, FORGET_BLOCKS, account)
        if doomed.phone_hash:
            await self.free_phone(doomed.phone_hash, account)
        return True

    async def forgotten(self, account: AccountId) -> None:
        """Nothing is left to be done for it: `doomed` names it no more."""
        await execute(self._db, FORGET_PHONE_HASH, account)


def _person(row: tuple[object, ...]) -> Person:
    return msgspec.convert(
        dict(zip(Person.__struct_fields__, row, strict=True)), Person, strict=False
    )
