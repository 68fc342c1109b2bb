"""Lists and pages: what is mine, who is in it, what happened; never more than an answer holds."""

import json

import pytest

from messenger.chats.feature import assemble
from messenger.chats.protocol import Chat
from messenger.feature import Refused
from messenger.wire.codes import ErrorCode
from tests.chats.world import Person, World, an_id

ANSWER_BYTES = 65_536


async def test_given_many_chats_then_pages_in_the_order_of_ids_hold_each_once(
    mina: Person, reza: Person
) -> None:
    chats = [await mina.creates() for _ in range(4)]
    chats += [await mina.opens(reza), await mina.opens(mina)]

    seen, after, aevs = [], None, []
    while True:
        page = await mina.call("list", limit=4, **({"after": after} if after else {}))
        seen += [chat["id"] for chat in page["chats"]]
        aevs.append(page["aev"])
        after = page.get("next")
        if after is None:
            break

    assert seen == sorted(chats, key=int)
    assert aevs == [6, 6]


async def test_given_long_titles_then_a_page_ends_early_and_goes_on_where_it_ended(
    world: World, mina: Person
) -> None:
    await world.run(
        "insert into chat(chat_id, kind, title, about) select $1::bigint + n, 2, repeat('ب', 128),"
        " repeat('پ', 255) from generate_series(1, 150) n",
        base := int(an_id()) + 10**9,
    )
    await world.run(
        "insert into membership(chat_id, account_id, role)"
        " select $1::bigint + n, $2, 1 from generate_series(1, 150) n",
        base,
        mina.account,
    )
    await world.run(
        "insert into member(account_id, chat_id, role)"
        " select $2, $1::bigint + n, 1 from generate_series(1, 150) n",
        base,
        mina.account,
    )
    wanted = [str(base + n) for n in range(1, 151)]

    seen, after = [], None
    while len(seen) < len(wanted):
        page = await mina.call("list", **({"after": after} if after else {}))
        assert len(json.dumps(page, ensure_ascii=False).encode()) < ANSWER_BYTES
        seen += [chat["id"] for chat in page["chats"]]
        after = page.get("next")
    some = await mina.call("get", chats=wanted[:100])

    assert seen == wanted
    assert len(json.dumps(some, ensure_ascii=False).encode()) < ANSWER_BYTES
    assert [chat["id"] for chat in some["chats"]] + some["left"] == wanted[:100]


async def test_given_a_list_of_ids_then_only_my_chats_are_answered(
    mina: Person, reza: Person
) -> None:
    mine, other = await mina.creates(), await reza.creates()

    got = await mina.call("get", chats=[other, an_id(), mine, mine, "9999999999999999999"])

    assert [chat["id"] for chat in got["chats"]] == [mine]
    assert "left" not in got
    assert (await mina.call("get", chats=[]))["chats"] == []
    many = await mina.refusal("get", chats=[mine] * 101)
    assert many.code is ErrorCode.BAD_REQUEST


async def test_given_members_then_pages_and_roles_find_each(world: World, mina: Person) -> None:
    people = await world.people(6)
    chat = await mina.creates(*people)
    await mina.call("set_role", chat=chat, account=people[0].id, role="admin", rights=["pin"])
    await mina.call("restrict", chat=chat, account=people[1].id, deny=["media"])
    await mina.call("remove_member", chat=chat, account=people[2].id, ban=True)

    first = await mina.call("members", chat=chat, limit=4)
    second = await mina.call("members", chat=chat, limit=4, after=first["next"])

    found = first["members"] + second["members"]
    assert [int(one["account"]) for one in found] == sorted(
        person.account for person in (mina, *people) if person is not people[2]
    )
    assert "next" not in second
    for role, expected in (
        ("owner", [mina]),
        ("admin", [people[0]]),
        ("restricted", [people[1]]),
        ("banned", [people[2]]),
        ("member", people[3:]),
    ):
        listed = (await mina.call("members", chat=chat, role=role))["members"]
        assert [one["account"] for one in listed] == [one.id for one in expected], role
    admin = (await mina.call("members", chat=chat, role="admin"))["members"][0]
    assert (admin["role"], admin["rights"], admin["at"] > 0) == ("admin", ["pin"], True)
    assert (await mina.refusal("members", chat=chat, role="left")).code is ErrorCode.INVALID
    refused = await people[3].refusal("members", chat=chat, role="banned")
    assert (refused.code, refused.details) == (ErrorCode.FORBIDDEN, {"right": "admin"})


@pytest.mark.parametrize("fields", [{"limit": 0}, {"limit": 201}, {"after": "-1"}, {"after": "x"}])
async def test_given_a_page_that_cannot_be_then_it_is_refused(
    mina: Person, fields: dict[str, object]
) -> None:
    chat = await mina.creates()

    for method, more in (("list", {}), ("members", {"chat": chat})):
        refused = await mina.refusal(method, **more, **fields)
        assert refused.code is ErrorCode.BAD_REQUEST
    over = await mina.refusal("members", chat=chat, after="9999999999999999999")
    assert over.code is ErrorCode.INVALID


async def test_given_what_happened_then_admins_read_it_newest_first_and_members_do_not(
    mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)
    await mina.call("update", chat=chat, title="یک")
    await mina.sends(chat)
    await mina.call("pin_message", chat=chat, seq=1, on=True)
    await mina.call("remove_member", chat=chat, account=reza.id)

    logged = (await mina.call("log", chat=chat))["events"]

    assert [(one["t"], one["ev"], one["by"]) for one in logged] == [
        ("member.changed", 4, mina.id),
        ("message.pinned", 3, mina.id),
        ("chat.updated", 1, mina.id),
    ]
    assert all(one["at"] > 0 for one in logged)
    older = (await mina.call("log", chat=chat, before_ev=3, limit=1))["events"]
    assert [one["ev"] for one in older] == [1]
    await mina.call("add_members", chat=chat, accounts=[reza.id])
    refused = await reza.refusal("log", chat=chat)
    assert (refused.code, refused.details) == (ErrorCode.FORBIDDEN, {"right": "admin"})


# Pins and reports


async def test_given_a_pin_then_members_hear_it_and_repeating_it_changes_nothing(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)
    for _ in range(2):
        await mina.sends(chat)

    done = await mina.call("pin_message", chat=chat, seq=2, on=True, silent=True)
    again = await mina.call("pin_message", chat=chat, seq=2, on=True)
    await mina.call("pin_message", chat=chat, seq=1, on=True)

    assert done == again == {"ev": 3}
    told = await reza.hears("message.pinned", chat=chat)
    assert told == {
        "t": "message.pinned",
        "chat": chat,
        "ev": 3,
        "seq": 2,
        "on": True,
        "by": mina.id,
        "silent": True,
    }
    assert [one["seq"] for one in (await reza.call("pins", chat=chat))["messages"]] == [1, 2]
    off = await mina.call("pin_message", chat=chat, seq=2, on=False)
    assert await mina.call("pin_message", chat=chat, seq=2, on=False) == off
    assert [one["seq"] for one in (await reza.call("pins", chat=chat))["messages"]] == [1]
    assert [payload for _, _, payload in await world.events(chat)] == [
        {"on": True, "silent": True},
        {"on": True},
        {"on": False},
    ]


async def test_given_no_such_message_or_no_right_then_nothing_is_pinned(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)
    await mina.sends(chat)

    refused = await reza.refusal("pin_message", chat=chat, seq=1, on=True)
    assert (refused.code, refused.details) == (ErrorCode.FORBIDDEN, {"right": "pin"})
    for seq in (2, 2**31 - 1):
        refused = await mina.refusal("pin_message", chat=chat, seq=seq, on=True)
        assert refused.code is ErrorCode.NO_MESSAGE
    for seq in (0, -1, 2**31, "1"):
        refused = await mina.refusal("pin_message", chat=chat, seq=seq, on=True)
        assert refused.code is ErrorCode.BAD_REQUEST
    assert await world.events(chat) == []
    assert (await mina.call("pins", chat=chat))["messages"] == []


async def test_given_a_hundred_pins_then_the_next_names_the_limit(
    world: World, mina: Person
) -> None:
    chat = await mina.creates()
    await mina.sends(chat)
    await world.run(
        "insert into pin(chat_id, seq, by_id) select $1, n, 1 from generate_series(2, 101) n",
        int(chat),
    )

    refused = await mina.refusal("pin_message", chat=chat, seq=1, on=True)

    assert (refused.code, refused.details) == (
        ErrorCode.TOO_LARGE,
        {"field": "pins", "limit": 100},
    )


async def test_given_a_direct_chat_then_both_sides_may_pin(mina: Person, reza: Person) -> None:
    chat = await mina.opens(reza)
    await mina.sends(chat)

    await reza.call("pin_message", chat=chat, seq=1, on=True)

    assert (await mina.hears("message.pinned", chat=chat))["by"] == reza.id


async def test_given_a_report_then_it_is_kept_for_the_moderators(
    world: World, mina: Person, reza: Person
) -> None:
    chat = await mina.creates(reza)
    await mina.sends(chat)

    report = await reza.call("report", chat=chat, seq=1, reason="spam", text="هرزنامه")

    sql = "report_id = $1 and account_id = $2 and chat_id = $3 and seq = 1 and reason = 'spam'"
    assert await world.count("report", sql, int(report["report_id"]), reza.account, int(chat)) == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"seq": 9}, ErrorCode.NO_MESSAGE),
        ({"seq": 0}, ErrorCode.BAD_REQUEST),
        ({"reason": ""}, ErrorCode.BAD_REQUEST),
        ({"reason": "x" * 65}, ErrorCode.BAD_REQUEST),
        ({"text": "x" * 1_001}, ErrorCode.BAD_REQUEST),
        ({"text": "\0"}, ErrorCode.INVALID),
    ],
)
async def test_given_a_bad_report_then_it_is_refused_and_nothing_is_stored(
    world: World, mina: Person, fields: dict[str, object], code: ErrorCode
) -> None:
    chat = await mina.creates()

    refused = await mina.refusal("report", chat=chat, **{"reason": "spam", **fields})

    assert refused.code is code
    assert await world.count("report", "account_id = $1", mina.account) == 0


async def test_given_a_platform_without_messages_then_pins_say_that_they_are_off(
    world: World, mina: Person
) -> None:
    chats = assemble(
        world.settings, world.db, world.delivery, world.limits, world.accounts, lambda: 1
    )
    chat = await mina.creates()
    await mina.sends(chat)
    await mina.call("pin_message", chat=chat, seq=1, on=True)

    with pytest.raises(Refused) as refused:
        await chats.pinning.pins(Chat(chat=chat), mina.caller)

    assert refused.value.code is ErrorCode.FEATURE_OFF
