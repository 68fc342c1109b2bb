"""One account for each phone, however many ask for it at once."""

from collections.abc import Callable

from messenger.accounts.phones import PhoneVault
from messenger.accounts.store.people import PeopleStore, Status
from messenger.feature import Refused
from messenger.folding import fold
from messenger.ids import AccountId
from messenger.wire.codes import ErrorCode

OWNER_TRIES = 3  # a phone may change hands while we look


class SigningUp:
    """Finds the account of a phone, or makes it."""

    def __init__(
        self,
        people: PeopleStore,
        vault: PhoneVault,
        mint: Callable[[], int],
        now_ms: Callable[[], int],
    ) -> None:
        self._people = people
        self._vault = vault
        self._mint = mint
        self._now_ms = now_ms

    async def account_of(self, phone: str, name: str | None) -> tuple[AccountId, bool]:
        """The phone's account, made with `name` where there is none; and whether it is new.

        Reserve, then write, both repeatable: of two that come at once, both get the same account
        and one of them hears that it is new.
        """
        phone_hash = self._vault.look_up(phone)
        if name is None:
            known = await self.known(phone_hash)
            if known is None:
                raise Refused(ErrorCode.NAME_REQUIRED)
            return known, False
        for _ in range(OWNER_TRIES):
            owner = await self._people.reserve_phone(phone_hash, AccountId(self._mint()))
            sealed = (phone_hash, self._vault.seal(phone))
            if await self._people.put_account(owner, name, fold(name), sealed, self._now_ms()):
                return owner, True
            if await self._people.status(owner) is not Status.GONE:
                return owner, False
            await self._people.free_phone(phone_hash, owner)  # the housekeeping's last step
        raise Refused(ErrorCode.CONFLICT, {"what": "phone"})

    async def known(self, phone_hash: bytes) -> AccountId | None:
        """Whose phone it is, unless the account was never written or is gone for good."""
        owner = await self._people.owner_of_phone(phone_hash)
        if owner is None or await self._people.status(owner) in (None, Status.GONE):
            return None
        return owner
