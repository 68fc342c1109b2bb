"""Direct chats: one for each pair of accounts, and one with oneself for saved messages."""

from collections.abc import Callable

from messenger.accounts.blocking import Blocks
from messenger.accounts.store.people import PeopleStore
from messenger.accounts.store.relations import RelationStore
from messenger.accounts.wire_ids import account_of
from messenger.chats.creating import ChatDraft, Creating
from messenger.chats.objects import Views
from messenger.chats.protocol import OpenDirect, Opened
from messenger.chats.rights import Kind, Role, Seat
from messenger.chats.store.mine import Mine
from messenger.feature import Caller, Refused
from messenger.ids import AccountId, ChatId
from messenger.limits import Limits
from messenger.log.events import Right
from messenger.wire.codes import ErrorCode

NEW_MS = 86_400_000  # an account this young may write to fewer strangers: spammers are young


class Directs:
    """Opens direct chats. Both sides at once get one chat: the pair reserves its id first."""

    def __init__(
        self,
        creating: Creating,
        mine: Mine,
        views: Views,
        people: PeopleStore,
        relations: RelationStore,
        blocks: Blocks,
        limits: Limits,
        mint: Callable[[], int],
        now_ms: Callable[[], int],
    ) -> None:
        self._creating = creating
        self._mine = mine
        self._views = views
        self._people = people
        self._relations = relations
        self._blocks = blocks
        self._limits = limits
        self._mint = mint
        self._now_ms = now_ms

    async def open_direct(self, request: OpenDirect, caller: Caller) -> Opened:
        """The chat with that account; one's own id: saved messages."""
        peer = account_of(request.account)
        pair = min(caller.account, peer), max(caller.account, peer)
        chat = await self._mine.of_direct(*pair)
        if chat is not None:
            found = (await self._views.objects(caller.account, [chat])).get(chat)
            if found is not None:
                return Opened(found, created=False)
        else:
            await self._check_first(caller.account, peer)
            chat = await self._mine.reserve_direct(*pair, ChatId(self._mint()))
        created = await self._creating.create_chat(
            ChatDraft(chat=chat, kind=Kind.DIRECT, owner=None, seats=await self._seats(*set(pair)))
        )
        if caller.account != peer:  # a block that came while the chat was being made
            await self._blocks.settle_both(caller.account, peer)
        return Opened(await self._views.one(caller.account, chat), created=created)

    async def _check_first(self, account: AccountId, peer: AccountId) -> None:
        """May these two start to write to each other? Nothing is stored if not.

        Who is blocked by the other is not told here: the seat alone is denied, as it is where the
        block comes later.
        """
        if account == peer:
            return
        if peer not in await self._people.people([peer]):
            raise Refused(ErrorCode.NOT_FOUND, {"what": "account"})
        await self._creating.check_room(account)
        if not await self._relations.who_knows([peer], account):
            age_ms = self._now_ms() - await self._mine.created_at(account)
            rule = "msg.stranger" if age_ms > NEW_MS else "msg.stranger_new"
            await self._limits.check(rule, str(account))

    async def _seats(self, one: AccountId, other: AccountId | None = None) -> dict[AccountId, Seat]:
        """Who is blocked by the other may not post, from the first moment."""
        if other is None:
            return {one: Seat(Role.MEMBER)}
        seats = {}
        for account, peer in ((one, other), (other, one)):
            blocked = await self._relations.blocks(peer, account)
            seats[account] = Seat(Role.MEMBER, Right.POST if blocked else 0)
        return seats
