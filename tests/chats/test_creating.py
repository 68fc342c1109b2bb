"""chats.create: one chat for one random_id, whoever may be added is in it."""

import asyncio

import pytest

from messenger.chats.creating import ChatDraft
from messenger.chats.rights import Kind, Role, Seat
from messenger.chats.store.mine import Mine
from messenger.feature import NameGuard, Refused
from messenger.ids import ChatId
from messenger.wire.codes import ErrorCode
from tests.chats.world import SMALL, Person, World, an_id


async def test_given_two_others_when_a_group_is_created_then_all_three_are_in_it_and_hear_of_it(
    world: World, mina: Person, reza: Person, sara: Person
) -> None:
    chat = await mina.creates(reza, sara, title="  خانهٔ ما ", about="")

    for person, role in ((mina, "owner"), (reza, "member"), (sara, "member")):
        joined = await person.hears("chat.joined", chat=chat)
        assert joined["info"]["kind"] == "group"
        assert joined["info"]["title"] == "خانهٔ ما"
        seen = await person.sees(chat)
        assert seen is not None
        assert seen["me"]["role"] == role
        assert seen["members"] == 3
        assert "about" not in seen
    assert await mina.members(chat) == {mina.id: "owner", reza.id: "member", sara.id: "member"}
    assert await world.count("outbox_c", "chat_id = $1", int(chat)) == 0


async def test_given_a_new_group_then_the_object_has_every_field_of_the_protocol(
    mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza, about="درباره")

    seen = await reza.sees(chat)

    assert seen is not None
    at = seen["last"].pop("at")
    assert at > 0
    assert seen == {
        "id": chat,
        "epoch": 1,
        "kind": "group",
        "big": False,
        "title": "خانه ما",
        "about": "درباره",
        "members": 2,
        "rights": ["pin", "change_info"],
        "slow_s": 0,
        "join": "link",
        "last": {"seq": 0, "ev": 0},
        "me": {
            "role": "member",
            "rights": [],
            "joined_seq": 0,
            "read_seq": 0,
            "cleared_seq": 0,
            "muted_until": 0,
            "pin": None,
            "folder": None,
        },
    }


async def test_given_a_lost_reply_when_the_creation_is_repeated_then_there_is_one_chat(
    world: World, mina: Person, reza: Person
) -> None:
    key = an_id()

    first = await mina.creates(reza, random_id=key)
    again = await mina.creates(reza, random_id=key, title="نام دیگر")

    assert again == first
    assert await world.count("chat", "owner_id = $1", mina.account) == 1


async def test_given_ten_repeats_at_once_when_they_race_then_there_is_one_chat(
    world: World, mina: Person, reza: Person
) -> None:
    key = an_id()

    chats = await asyncio.gather(*(mina.creates(reza, random_id=key) for _ in range(10)))

    assert len(set(chats)) == 1
    assert await world.count("chat", "owner_id = $1", mina.account) == 1
    assert [update["t"] for update in reza.heard_of(chats[0])] == ["chat.joined"]


async def test_given_two_devices_with_the_same_key_then_each_has_its_own_chat(
    world: World, mina: Person
) -> None:
    tablet = Person(world, mina.account)
    key = an_id()

    assert await mina.creates(random_id=key) != await tablet.creates(random_id=key)


async def test_given_people_who_cannot_be_added_then_they_are_named_with_the_reason(
    world: World, mina: Person, reza: Person
) -> None:
    shy, blocker = await world.people(2)
    unknown = an_id()
    await world.call(shy.caller, "accounts.privacy", b'{"set":{"add_to_groups":"nobody"}}')
    block = b'{"account":"%d","on":true}' % mina.account
    await world.call(blocker.caller, "accounts.block", block)

    made = await mina.call(
        "create",
        kind="group",
        title="g",
        random_id=an_id(),
        members=[reza.id, shy.id, blocker.id, unknown, mina.id, reza.id],
    )

    assert made["skipped"] == [
        {"account": shy.id, "why": "privacy"},
        {"account": blocker.id, "why": "privacy"},
        {"account": unknown, "why": "unknown"},
    ]
    assert await mina.members(made["chat"]["id"]) == {mina.id: "owner", reza.id: "member"}


async def test_given_more_members_than_a_small_chat_holds_then_it_is_born_big(
    world: World, mina: Person
) -> None:
    chat = await mina.creates(*await world.people(SMALL))

    seen = await mina.sees(chat)

    assert seen is not None
    assert seen["big"]
    assert await world.count("member", "chat_id = $1 and flags & 1 = 1", int(chat)) == SMALL + 1


async def test_given_a_username_when_a_group_is_created_then_it_is_public_and_resolves(
    world: World, mina: Person, reza: Person
) -> None:
    name = f"group_{mina.id}"[:32]
    chat = await mina.creates(username=name.upper())

    resolved = await world.chats.views.public(reza.account, ChatId(int(chat)))

    assert resolved is not None
    assert (resolved.username, resolved.join, resolved.me.role) == (name, "open", "left")
    other = await reza.refusal("create", kind="group", title="g", username=name, random_id=an_id())
    assert other.code is ErrorCode.USERNAME_TAKEN
    assert await world.count("chat", "owner_id = $1", reza.account) == 0


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"title": ""}, ErrorCode.BAD_REQUEST),
        ({"title": "x" * 129}, ErrorCode.BAD_REQUEST),
        ({"title": " \u200c "}, ErrorCode.INVALID),
        ({"title": "a\0b"}, ErrorCode.INVALID),
        ({"about": "x" * 256}, ErrorCode.BAD_REQUEST),
        ({"username": "1abc"}, ErrorCode.USERNAME_INVALID),
        ({"username": "admin"}, ErrorCode.USERNAME_INVALID),
        ({"members": ["0"]}, ErrorCode.BAD_REQUEST),
        ({"members": [str(n) for n in range(1, 202)]}, ErrorCode.BAD_REQUEST),
        ({"members": ["9999999999999999999"]}, ErrorCode.INVALID),
        ({"random_id": "9999999999999999999"}, ErrorCode.INVALID),
        ({"random_id": 5}, ErrorCode.BAD_REQUEST),
        ({"kind": "direct"}, ErrorCode.BAD_REQUEST),
        ({"kind": "channel"}, ErrorCode.FEATURE_OFF),
    ],
)
async def test_given_a_bad_creation_then_it_is_refused_and_nothing_is_stored(
    world: World, mina: Person, fields: dict[str, object], code: ErrorCode
) -> None:
    request = {"kind": "group", "title": "g", "random_id": an_id()} | fields

    refused = await mina.refusal("create", **request)

    assert refused.code is code
    assert await world.count("chat", "owner_id = $1", mina.account) == 0
    assert await world.count("create_key", "account_id = $1", mina.account) == 0


async def test_given_a_guard_of_names_when_it_refuses_the_title_then_nothing_is_stored(
    world: World, mina: Person, guards: list[NameGuard]
) -> None:
    class Guard:
        async def check(self, *, owner: int, name: str | None, username: str | None) -> None:
            if name == "بانک مرکزی":
                raise Refused(ErrorCode.NAME_REFUSED, {"why": "lookalike", "case": "7"})

    guards.append(Guard())

    refused = await mina.refusal("create", kind="group", title="بانک مرکزی", random_id=an_id())

    assert refused.code is ErrorCode.NAME_REFUSED
    assert await world.count("chat", "owner_id = $1", mina.account) == 0


async def test_given_as_many_chats_as_allowed_then_the_next_one_is_refused(
    world: World, mina: Person
) -> None:
    await world.run(
        "insert into member(account_id, chat_id) select $1, n from generate_series(1, 5000) n",
        mina.account,
    )

    refused = await mina.refusal("create", kind="group", title="g", random_id=an_id())

    assert (refused.code, refused.details) == (ErrorCode.TOO_MANY_CHATS, {"limit": 5_000})


async def test_given_the_function_for_all_kinds_when_a_channel_is_made_then_it_is_born_big(
    world: World, mina: Person
) -> None:
    chat = ChatId(int(an_id()))
    seats = {mina.account: Seat(Role.OWNER)}
    draft = ChatDraft(chat=chat, kind=Kind.CHANNEL, owner=mina.account, seats=seats, title="کانال")

    made = await world.chats.creating.create_chat(draft)
    again = await world.chats.creating.create_chat(draft)

    assert (made, again) == (True, False)
    seen = await world.chat(mina, str(chat))
    assert (seen.kind, seen.big, seen.me.role) == ("channel", True, "owner")


async def test_given_one_username_for_two_groups_at_once_then_one_of_them_has_it(
    world: World, mina: Person, reza: Person
) -> None:
    name = f"race_{mina.id}"

    done = await asyncio.gather(
        mina.creates(username=name), reza.creates(username=name), return_exceptions=True
    )

    [refused] = [one for one in done if isinstance(one, Refused)]
    assert refused.code is ErrorCode.USERNAME_TAKEN
    assert await world.count("chat", "username = $1", name) == 1


async def test_given_a_creation_that_a_crash_cut_off_then_its_repeat_finishes_it(
    world: World, mina: Person, reza: Person
) -> None:
    key, chat = an_id(), int(an_id())
    await world.run(
        "insert into create_key(account_id, device_id, random_id, chat_id, at)"
        " values ($1, $2, $3, $4, $5)",
        mina.account,
        mina.caller.device,
        int(key),
        chat,
        world.clock.now_ms(),
    )

    assert await mina.creates(reza, random_id=key) == str(chat)

    assert (await reza.hears("chat.joined", chat=str(chat)))["info"]["title"] == "خانه ما"


async def test_given_a_public_group_then_a_member_who_resolves_it_sees_it_as_a_member(
    world: World, mina: Person, reza: Person
) -> None:
    name = f"seen_{mina.id}"
    chat = await mina.creates(username=name)
    request = b'{"username":"%s"}' % name.encode()

    own = await world.call(mina.caller, "accounts.resolve", request)
    other = await world.call(reza.caller, "accounts.resolve", request)

    assert (own["chat"]["id"], own["chat"]["me"]["role"]) == (chat, "owner")
    assert (other["chat"]["id"], other["chat"]["me"]["role"]) == (chat, "left")


async def test_given_a_chat_that_was_never_made_then_its_repeat_is_checked_like_a_first_try(
    world: World, mina: Person, reza: Person, guards: list[NameGuard]
) -> None:
    class Guard:
        async def check(self, *, owner: int, name: str | None, username: str | None) -> None:
            if name == "بانک مرکزی":
                raise Refused(ErrorCode.NAME_REFUSED, {"why": "lookalike", "case": "7"})

    guards.append(Guard())
    key, chat, name = int(an_id()), ChatId(int(an_id())), f"late_{mina.id}"
    await Mine(world.db).reserve_key(
        world.clock.now_ms(), mina.account, mina.caller.device, key, chat
    )
    request = {"kind": "group", "random_id": str(key)}

    refused = await mina.refusal("create", title="بانک مرکزی", **request)
    assert refused.code is ErrorCode.NAME_REFUSED
    made = (await mina.call("create", title="گروه", username=name, **request))["chat"]

    assert (made["id"], made["username"]) == (str(chat), name)


async def test_given_a_repeat_with_another_username_then_it_holds_no_name_for_the_chat(
    world: World, mina: Person, reza: Person
) -> None:
    key, first, second = an_id(), f"one_{mina.id}", f"two_{mina.id}"

    tries = (mina.creates(username=name, random_id=key) for name in (first, second, first, second))
    done = set(await asyncio.gather(*tries))
    [chat] = done

    held = (await mina.sees(chat) or {})["username"]
    [other] = {first, second} - {held}
    assert await reza.creates(username=other) != chat
    await mina.call("delete", chat=chat)
    third = f"three_{mina.id}"
    refused = await mina.refusal("create", kind="group", title="g", username=third, random_id=key)
    assert refused.code is ErrorCode.NO_CHAT
    assert await reza.creates(username=third)
