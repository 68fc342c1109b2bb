"""The people of one's address book who are here.

Only matches are stored: numbers of people who are not here leave no trace, and the pepper keeps
the stored ones from being tried out.
"""

from collections.abc import Callable

import msgspec

from messenger.accounts.names import clean_text
from messenger.accounts.phones import PhoneVault, normalise_many
from messenger.accounts.privacy import Privacy
from messenger.accounts.profiles import Profiles
from messenger.accounts.protocol import (
    After,
    Contact,
    ContactPage,
    ContactsChanged,
    ImportContacts,
    Match,
    Matches,
    Noted,
    RemoveContact,
)
from messenger.accounts.store.people import PeopleStore
from messenger.accounts.store.relations import RelationStore
from messenger.accounts.wire_ids import account_of, page_start
from messenger.delivery.fanout import Delivery
from messenger.feature import Caller, Refused
from messenger.ids import AccountId
from messenger.log.account_log import AccountLog
from messenger.wire.codes import ErrorCode

CONTACTS_MAX = 10_000  # an address book; beyond it imports are refused
PAGE = 100


class Contacts:
    """Imports, lists and removes contacts of the caller."""

    def __init__(
        self,
        people: PeopleStore,
        relations: RelationStore,
        account_log: AccountLog,
        privacy: Privacy,
        profiles: Profiles,
        vault: PhoneVault,
        delivery: Delivery,
        now_ms: Callable[[], int],
    ) -> None:
        self._people = people
        self._relations = relations
        self._account_log = account_log
        self._privacy = privacy
        self._profiles = profiles
        self._vault = vault
        self._delivery = delivery
        self._now_ms = now_ms

    async def import_contacts(self, request: ImportContacts, caller: Caller) -> Matches:
        """Match and keep; numbers nobody has, or whose owner hides, are left out alike."""
        names = self._names(request)
        found = await self._owners(request.phones, caller.account)
        if not found:
            return Matches([])
        contacts: dict[AccountId, str] = {}
        for phone, name in zip(request.phones, names, strict=True):
            if phone in found:
                contacts.setdefault(found[phone], name)
        fits, aev = await self._relations.put_contacts(
            caller.account, contacts, self._now_ms(), CONTACTS_MAX
        )
        if not fits:
            raise Refused(ErrorCode.TOO_LARGE, {"field": "contacts", "limit": CONTACTS_MAX})
        if aev is not None:
            self._announce(caller.account, aev, contacts, on=True)
        shapes = {one.id: one for one in await self._profiles.shapes(contacts.keys())}
        return Matches(
            [
                Match(phone=phone, account=shapes[str(owner)])
                for phone, owner in found.items()
                if str(owner) in shapes
            ]
        )

    async def contacts(self, request: After, caller: Caller) -> ContactPage:
        rows = await self._relations.contacts(caller.account, page_start(request.after), PAGE)
        names = {str(row.peer): row.name for row in rows}
        accounts = await self._profiles.shapes([row.peer for row in rows])
        following = str(rows[-1].peer) if len(rows) == PAGE else None
        return ContactPage(
            [Contact(account=one, name=names[one.id]) for one in accounts], following
        )

    async def remove_contact(self, request: RemoveContact, caller: Caller) -> Noted:
        """Also where there was none: the end state is the same."""
        peer = account_of(request.account)
        aev = await self._relations.drop_contact(caller.account, peer, self._now_ms())
        if aev is None:
            return Noted((await self._account_log.head(caller.account)).aev)
        self._announce(caller.account, aev, [peer], on=False)
        return Noted(aev)

    def _names(self, request: ImportContacts) -> list[str]:
        if request.names is None:
            return [""] * len(request.phones)
        if len(request.names) != len(request.phones):
            raise Refused(ErrorCode.INVALID, {"field": "names", "why": "one for each phone"})
        return [clean_text("names", name) for name in request.names]

    async def _owners(self, phones: list[str], caller: AccountId) -> dict[str, AccountId]:
        """phone as sent -> its owner, for owners that may be found by the caller."""
        hashes = {
            phone: self._vault.look_up(canonical)
            for phone, canonical in zip(phones, normalise_many(phones), strict=True)
            if canonical is not None
        }
        owners = await self._people.owners_of_phones(list(hashes.values())) if hashes else {}
        others = set(owners.values()) - {caller}
        if not others:
            return {}
        findable = await self._privacy.allowing(others, "find_by_phone", caller)
        return {
            phone: owners[phone_hash]
            for phone, phone_hash in hashes.items()
            if owners.get(phone_hash) in findable
        }

    def _announce(
        self,
        account: AccountId,
        aev: int,
        peers: "dict[AccountId, str] | list[AccountId]",
        *,
        on: bool,
    ) -> None:
        accounts = [str(peer) for peer in peers]
        update = msgspec.json.encode(ContactsChanged(aev=aev, accounts=accounts, on=on))
        self._delivery.account_fact(account, update)
