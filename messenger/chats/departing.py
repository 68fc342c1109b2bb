"""What becomes of the chats of an account that is gone for good.

It leaves every group and channel. Its groups go to the admin who is there longest, else to the
member, and end where nobody is left. Its channels go to an admin; without one they stay to be read,
as no subscriber asked to speak for a channel. Direct chats stay with the other side.
"""

from messenger.chats.groups import Groups
from messenger.chats.membership import Memberships
from messenger.chats.protocol import Chat
from messenger.chats.rights import Kind, Role
from messenger.chats.store.chats import ChatRow, ChatRows
from messenger.chats.store.mine import Mine
from messenger.feature import Caller, Refused
from messenger.ids import AccountId, ChatId, DeviceId
from messenger.wire.codes import ErrorCode

PAGE = 100  # chats read at once


class Departing:
    """Repeatable: whoever is cut off half-way goes on with what is left."""

    def __init__(
        self, chats: ChatRows, mine: Mine, memberships: Memberships, groups: Groups
    ) -> None:
        self._chats = chats
        self._mine = mine
        self._memberships = memberships
        self._groups = groups

    async def depart(self, account: AccountId) -> None:
        """Take the account out of all its chats; returns when it is out."""
        after, full = 0, True
        while full:
            page = await self._mine.page(account, after, PAGE)
            for one in page:
                await self._leave(one.chat, account)
            after = page[-1].chat if page else after
            full = len(page) == PAGE

    async def _leave(self, chat: ChatId, account: AccountId) -> None:
        row = (await self._chats.chats([chat])).get(chat)
        seat = (await self._chats.seats(chat, [account])).get(account)
        if row is None or row.kind is Kind.DIRECT or seat is None:
            return
        leaver = Caller(account, DeviceId(0), "")
        request = Chat(chat=str(chat))
        try:
            if seat.role == Role.OWNER and not await self._passes_on(row, leaver):
                return
            await self._memberships.leave(request, leaver)
        except Refused as refused:
            if refused.code is not ErrorCode.NO_CHAT:  # deleted meanwhile, or put out of it
                raise

    async def _passes_on(self, row: ChatRow, owner: Caller) -> bool:
        """False where the owner does not leave: nobody comes after them."""
        least = Role.ADMIN if row.kind is Kind.CHANNEL else Role.MEMBER
        heir = await self._chats.heir(row.chat, owner.account, least)
        if heir is not None:
            await self._groups.hand_over(row.chat, owner.account, heir)
            return True
        if row.kind is not Kind.CHANNEL:
            await self._groups.delete(Chat(chat=str(row.chat)), owner)
        return False
