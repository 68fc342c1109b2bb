"""Any history of joins, leaves, bans, promotions and transfers, with a plain model beside it.

The model is one dictionary of standings; the rights table decides what it allows. The platform
must refuse what the model refuses, count what it counts, become big when it says, and tell each
event once to those who are members after it.
"""

import asyncio
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from messenger.chats.rights import NEEDS, Act, Standing
from messenger.feature import Refused
from messenger.ids import ChatId
from messenger.wire.codes import ErrorCode
from tests.chats.world import SMALL, Person, World

PEOPLE = 8
ACTS = {
    "remove": ("remove_member", {}, Act.REMOVE),
    "ban": ("remove_member", {"ban": True}, Act.BAN),
    "promote": (
        "set_role",
        {"role": "admin", "rights": ["restrict_members", "add_admins"]},
        Act.PROMOTE,
    ),
    "demote": ("set_role", {"role": "member"}, Act.DEMOTE),
    "restrict": ("restrict", {"deny": ["post", "invite"]}, Act.RESTRICT),
    "transfer": ("transfer", {}, Act.TRANSFER),
}
AFTER = {
    Act.REMOVE: Standing.LEFT,
    Act.BAN: Standing.BANNED,
    Act.PROMOTE: Standing.ADMIN,
    Act.DEMOTE: Standing.MEMBER,
    Act.RESTRICT: Standing.RESTRICTED,
    Act.TRANSFER: Standing.OWNER,
}
INSIDE = {Standing.OWNER, Standing.ADMIN, Standing.MEMBER, Standing.RESTRICTED}
WHO = st.integers(0, PEOPLE - 1)
STEPS = st.lists(
    st.tuples(st.sampled_from([*ACTS, "add", "add", "leave", "join"]), WHO, WHO),
    min_size=1,
    max_size=25,
)


class Model:
    """Standings of people by their number; 0 made the group."""

    def __init__(self) -> None:
        self.standing = dict.fromkeys(range(PEOPLE), Standing.LEFT) | {0: Standing.OWNER}
        self.owned_before: set[int] = set()
        self.restricted_before: set[int] = set()
        self.big = False
        self.events: list[tuple[int, str]] = []
        self.audiences: list[set[int]] = []
        """Who hears of each event on `user:`: the members after it, while the chat is small."""

    def may_invite(self, actor: int) -> bool:
        # promoted admins here have no right to invite; former owners have all rights
        standing = self.standing[actor]
        former = standing is Standing.ADMIN and actor in self.owned_before
        return standing in (Standing.OWNER, Standing.MEMBER) or former

    def seat(self, number: int) -> None:
        back = number in self.restricted_before
        standing = Standing.RESTRICTED if back else Standing.MEMBER
        self.standing[number] = standing
        self.note(number, standing.value)
        if not self.big and len(self.inside()) > SMALL:
            self.note(-1, "big")
            self.big = True

    def put(self, number: int, standing: Standing) -> None:
        if standing is not Standing.ADMIN or self.standing[number] is not Standing.ADMIN:
            self.owned_before.discard(number)
        self.restricted_before.discard(number)
        self.standing[number] = standing
        self.note(number, standing.value)

    def note(self, number: int, what: str) -> None:
        self.events.append((number, what))
        self.audiences.append(set() if self.big else self.inside())

    def inside(self) -> set[int]:
        return {number for number, standing in self.standing.items() if standing in INSIDE}


class Group:
    """The same group on the platform."""

    def __init__(self, people: list[Person], chat: str, link: str) -> None:
        self.people, self.chat, self.link = people, chat, link
        self.model = Model()

    async def step(self, name: str, actor: int, target: int) -> None:
        """Do it on both sides; they must agree on whether it is refused."""
        expected = self.expected(name, actor, target)
        try:
            await self.do(name, self.people[actor], self.people[target])
        except Refused as refused:
            code = refused.code
        else:
            code = None
        assert code is expected, (name, actor, target, self.model.standing)

    async def do(self, name: str, actor: Person, target: Person) -> None:
        if name in ACTS:
            method, fields, _ = ACTS[name]
            await actor.call(method, chat=self.chat, account=target.id, **fields)
        elif name == "add":
            await actor.call("add_members", chat=self.chat, accounts=[target.id])
        elif name == "join":
            await actor.call("join", link=self.link)
        else:
            await actor.call("leave", chat=self.chat)

    def expected(self, name: str, actor: int, target: int) -> ErrorCode | None:
        """What the model says; it takes the step where that is allowed."""
        model = self.model
        own = model.standing[actor]
        if name == "join":
            return self.expected_join(actor)
        if own not in INSIDE:
            left = name == "leave" and own is Standing.LEFT and self.was_inside(actor)
            return None if left else ErrorCode.NO_CHAT
        if name == "leave":
            return self.expected_leave(actor)
        if name == "add":
            if not model.may_invite(actor):
                return ErrorCode.FORBIDDEN
            if model.standing[target] is Standing.LEFT:
                model.seat(target)
            return None
        return self.expected_act(ACTS[name][2], actor, target)

    def expected_join(self, actor: int) -> ErrorCode | None:
        if self.model.standing[actor] is Standing.BANNED:
            return ErrorCode.BANNED
        if self.model.standing[actor] is Standing.LEFT:
            self.model.seat(actor)
        return None

    def expected_leave(self, actor: int) -> ErrorCode | None:
        own = self.model.standing[actor]
        if own is Standing.OWNER:
            return ErrorCode.LAST_OWNER
        self.model.put(actor, Standing.LEFT)
        if own is Standing.RESTRICTED:
            self.model.restricted_before.add(actor)
        return None

    def expected_act(self, act: Act, actor: int, target: int) -> ErrorCode | None:
        model = self.model
        own, other = model.standing[actor], model.standing[target]
        gone = act is Act.REMOVE and other is Standing.LEFT
        pair = act, own, Standing.MEMBER if gone else other
        # admins here were granted restrict_members and add_admins, or owned the group once
        if actor == target or pair not in NEEDS:
            return ErrorCode.FORBIDDEN
        same = other is AFTER[act] and not (act is Act.PROMOTE and target in model.owned_before)
        if gone or (same and act is not Act.TRANSFER):
            return None
        if act is Act.TRANSFER:
            model.put(actor, Standing.ADMIN)
            model.put(target, Standing.OWNER)
            model.owned_before.add(actor)
            return None
        model.put(target, AFTER[act])
        model.owned_before.discard(target)
        return None

    def was_inside(self, number: int) -> bool:
        """Did they ever have a seat? Who was only banned and let in again had none."""
        roles = {"member", "restricted", "admin", "owner"}
        return any(who == number and role in roles | {"left"} for who, role in self.model.events)

    async def check(self, world: World) -> None:
        model, chat = self.model, self.chat
        owner = next(n for n, one in model.standing.items() if one is Standing.OWNER)
        assert await self.people[owner].members(chat) == {
            self.people[number].id: model.standing[number].value for number in model.inside()
        }
        seen = await world.chat(self.people[owner], chat)
        assert (seen.members, seen.big) == (len(model.inside()), model.big)
        assert await self.events(world) == model.events
        for number, person in enumerate(self.people):
            listed = [one["id"] for one in (await person.call("list"))["chats"]]
            assert (chat in listed) == (number in model.inside())
            role = "chat_id = $1 and account_id = $2 and role > 0 and flags & 1 = $3"
            count = await world.count("member", role, int(chat), person.account, int(model.big))
            assert count == (1 if number in model.inside() else 0)
        assert await world.count("outbox_c", "chat_id = $1", int(chat)) == 0

    async def check_heard(self, world: World) -> None:
        """Each member of a small chat heard each event once, in order; nobody else heard any."""
        model, chat = self.model, self.chat
        topic = await world.topic(f"chat:{chat}")
        owner = next(n for n, one in model.standing.items() if one is Standing.OWNER)
        last = await self.people[owner].call("update", chat=chat, title="نشانه")
        model.note(owner, "title")
        if model.big:
            await topic.says(b"%d " % last["ev"])
        heard = [
            await person.heard_up_to(chat, 0 if model.big else last["ev"], inside=number in inside)
            for inside in [model.inside()]
            for number, person in enumerate(self.people)
        ]
        for number, updates in enumerate(heard):
            evs = [update["ev"] for update in updates if "ev" in update]
            expected = [ev for ev, who in enumerate(model.audiences, 1) if number in who]
            assert evs == expected, number
            facts = [update["t"] for update in updates if "aev" in update]
            assert facts == ["chat.joined", "chat.left"] * (len(facts) // 2) + ["chat.joined"] * (
                number in model.inside()
            )

    async def events(self, world: World) -> list[tuple[int, str]]:
        numbers = {person.id: number for number, person in enumerate(self.people)}
        told: list[tuple[int, str]] = []
        for _, _, payload in await world.events(self.chat):
            told.append((numbers[payload["account"]], payload["role"]) if payload else (-1, "big"))
        return told


@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(steps=STEPS)
async def test_given_any_history_of_members_then_the_platform_agrees_with_the_model(
    world: World, steps: list[tuple[str, int, int]]
) -> None:
    people = [await world.person(str(number)) for number in range(PEOPLE)]
    chat = await people[0].creates()
    link = (await people[0].call("link_create", chat=chat))["link"]
    group = Group(people, chat, link)

    for step in steps:
        await group.step(*step)

    await group.check(world)
    await group.check_heard(world)


async def test_given_many_hands_at_once_then_numbers_are_dense_and_the_count_is_right(
    world: World,
) -> None:
    people = await world.people(12)
    owner = people[0]
    chat = await owner.creates()
    link = (await owner.call("link_create", chat=chat))["link"]

    async def comes_and_goes(person: Person) -> None:
        for _ in range(3):
            await person.call("join", link=link)
            await person.call("leave", chat=chat)
        await person.call("join", link=link)

    async def shakes(person: Person) -> list[Any]:
        calls = [
            owner.call("restrict", chat=chat, account=person.id, deny=["post"]),
            owner.call("remove_member", chat=chat, account=person.id),
        ]
        return await asyncio.gather(*calls, return_exceptions=True)

    await asyncio.gather(
        *(comes_and_goes(person) for person in people[1:9]),
        *(shakes(person) for person in people[1:5]),
        owner.call("add_members", chat=chat, accounts=[person.id for person in people[9:]]),
        return_exceptions=True,
    )
    world.clock.passes(seconds=6)
    while await world.chats.outbox.settle_left():
        pass

    inside = await owner.members(chat)
    seen = await world.chat(owner, chat)
    kinds = [kind for _, kind, _ in await world.events(chat)]
    assert seen.members == len(inside)
    assert seen.big
    assert kinds.count(9) == 1
    for person in people:
        mine = await world.chats.views._mine.of_chats(person.account, [ChatId(int(chat))])
        assert bool(mine) == (person.id in inside)
