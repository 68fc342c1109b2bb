"""Who may see, find, call and add whom.

Last seen is reciprocal: who hides it from somebody does not see that one's either. A block is
never told apart from a setting.
"""

from collections.abc import Callable, Collection
from typing import Literal

import msgspec

from messenger.accounts.protocol import Audience, PrivacySettings, SetPrivacy
from messenger.accounts.store.people import PeopleStore
from messenger.accounts.store.relations import RelationStore
from messenger.feature import Caller, Refused
from messenger.ids import AccountId
from messenger.wire.codes import ErrorCode

Matter = Literal["last_seen", "add_to_groups", "find_by_phone", "who_may_call"]


def allows(audience: Audience, *, is_contact: bool) -> bool:
    """The whole rule; `is_contact`: the owner of the setting has the other as a contact."""
    return audience == "everyone" or (audience == "contacts" and is_contact)


class Privacy:
    """The settings, and the questions that features ask of them."""

    def __init__(
        self,
        people: PeopleStore,
        relations: RelationStore,
        on_last_seen: Callable[[AccountId], None],
    ) -> None:
        self._people = people
        self._relations = relations
        self._on_last_seen = on_last_seen

    async def privacy(self, request: SetPrivacy, caller: Caller) -> PrivacySettings:
        """Change what is named, answer all."""
        changes = msgspec.to_builtins(request.set) if request.set is not None else {}
        if not changes:
            return await self.settings_of(caller.account)
        settings = await self._people.set_privacy(caller.account, changes)
        if settings is None:
            raise Refused(ErrorCode.NOT_FOUND, {"what": "account"})
        if "last_seen" in changes:
            self._on_last_seen(caller.account)
        return settings

    async def settings_of(self, account: AccountId) -> PrivacySettings:
        """The settings of one account, the defaults where it has chosen nothing."""
        return (await self._people.privacy([account])).get(account, PrivacySettings())

    async def allowing(
        self, owners: Collection[AccountId], matter: Matter, by: AccountId
    ) -> set[AccountId]:
        """Those of `owners` that exist and let `by` do it: neither setting nor block forbids."""
        settings = await self._people.privacy(owners)
        audiences: dict[AccountId, Audience] = {
            owner: getattr(chosen, matter) for owner, chosen in settings.items()
        }
        known = await self._known_by(audiences, by)
        allowed = {
            owner
            for owner, audience in audiences.items()
            if owner == by or allows(audience, is_contact=owner in known)
        }
        if not allowed:
            return allowed
        return allowed - (await self._relations.who_blocks(allowed, by) - {by})

    async def allows(self, owner: AccountId, matter: Matter, by: AccountId) -> bool:
        """`allowing` for one owner."""
        return owner in await self.allowing([owner], matter, by)

    async def mutual(self, one: AccountId, others: Collection[AccountId]) -> set[AccountId]:
        """Those of `others` that may see when `one` was here, and the other way round."""
        seen_by_one = await self.allowing(others, "last_seen", one)
        strangers = seen_by_one - {one}
        if not strangers:
            return seen_by_one
        audience = (await self.settings_of(one)).last_seen
        known: set[AccountId] = set()
        if audience == "contacts":
            known = await self._relations.known_of(one, strangers)
        hidden = {other for other in strangers if not allows(audience, is_contact=other in known)}
        hidden |= await self._relations.blocked_of(one, strangers)
        return seen_by_one - hidden

    async def _known_by(
        self, audiences: dict[AccountId, Audience], by: AccountId
    ) -> set[AccountId]:
        """Those who have `by` as a contact, asked only where it matters."""
        owners = [owner for owner, audience in audiences.items() if audience == "contacts"]
        return await self._relations.who_knows(owners, by) if owners else set()
