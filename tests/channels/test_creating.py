"""Channels come to be, are configured, and change hands."""

import pytest

from channels.creating import OFFER_MS
from messenger.log.events import Right
from messenger.wire.codes import ErrorCode
from tests.channels.studio import Person, Studio, a_name, an_id

OTHERS = int(Right.EDIT_OTHERS)


async def test_given_a_new_channel_then_it_is_big_its_owner_posts_and_nobody_else(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds(title="خبرگزاری", about="همه خبرها", username=a_name())
    reader = await studio.a_subscriber(chat)

    seen = await mina.sees(chat)
    sent = await mina.posts(chat)
    refused = await reader.refusal("messages.send", chat=chat, text="x", random_id="1")

    assert (seen["kind"], seen["big"], seen["me"]["role"]) == ("channel", True, "owner")
    assert sent["seq"] == 1
    assert (refused.code, refused.details) == (ErrorCode.FORBIDDEN, {"right": "post"})


async def test_given_the_same_random_id_when_a_channel_is_made_again_then_it_is_the_same(
    mina: Person,
) -> None:
    key, name = an_id(), a_name()

    first = await mina.founds(random_id=key, username=name)
    again = await mina.founds(random_id=key, username=name)

    assert first == again


async def test_given_as_many_channels_as_one_may_own_then_the_next_is_refused_and_nothing_stored(
    studio: Studio, mina: Person
) -> None:
    await studio.run(
        "insert into member(account_id, chat_id, kind, role) select $1, n, 3, 4"
        " from generate_series(1, 50) n",
        mina.account,
    )

    refused = await mina.refusal(
        "chats.create", kind="channel", title="x", random_id="1", username=a_name()
    )

    assert refused.code is ErrorCode.TOO_MANY_CHATS
    assert refused.details == {"rule": "channels.owned", "limit": 50}
    assert await studio.rows("select 1 from chat where owner_id = $1", mina.account) == []


async def test_given_as_many_public_channels_as_allowed_then_private_ones_can_still_be_made(
    studio: Studio, mina: Person
) -> None:
    for _ in range(10):
        await mina.founds(username=a_name())

    refused = await mina.refusal(
        "chats.create", kind="channel", title="x", random_id=an_id(), username=a_name()
    )
    private = await mina.founds()
    renamed = await mina.refusal("chats.update", chat=private, username=a_name())

    assert refused.details == {"rule": "channels.public", "limit": 10}
    assert renamed.details == refused.details
    assert (await mina.sees(private)).get("username") is None


async def test_given_a_configuration_then_members_see_it_and_one_event_tells_it(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    topic = await studio.topic(f"chat:{chat}")

    done = await mina.call(
        "channels.configure",
        chat=chat,
        signed="profile",
        reactions=["👍", "❤️", "👍"],
        category="news",
        photo="77",
    )

    told = await topic.says(b"chat.updated")
    seen = await mina.sees(chat)
    assert done == {"ev": 1}
    assert told.startswith(b"1 ")
    assert (seen["signed"], seen["reactions"], seen["category"], seen["photo"]) == (
        "profile",
        ["👍", "❤️"],
        "news",
        "77",
    )
    assert await mina.call("channels.configure", chat=chat, category="news") == {"ev": 1}


async def test_given_a_configuration_when_taken_back_then_nothing_of_it_is_left(
    mina: Person,
) -> None:
    chat = await mina.founds()
    await mina.call("channels.configure", chat=chat, signed="name", reactions=[], category="news")

    await mina.call(
        "channels.configure", chat=chat, signed=None, reactions=None, category=None, photo=None
    )

    seen = await mina.sees(chat)
    assert [seen.get(key) for key in ("signed", "reactions", "category", "photo")] == [None] * 4


async def test_given_a_deleted_channel_then_its_name_is_nobodys_for_the_documented_time(
    studio: Studio, mina: Person, reza: Person
) -> None:
    name = a_name()
    chat = await mina.founds(username=name)

    await mina.call("chats.delete", chat=chat)

    refused = await reza.refusal(
        "chats.create", kind="channel", title="x", random_id="1", username=name
    )
    rows = await studio.rows("select tombstone_until from username where name_fold = $1", name)
    assert refused.code is ErrorCode.USERNAME_TAKEN
    assert rows[0][0] > 0
    assert (await mina.refusal("messages.send", chat=chat, text="x", random_id="2")).code is (
        ErrorCode.NO_CHAT
    )


async def test_given_an_offer_when_accepted_then_the_channel_has_a_new_owner_and_the_log_says_so(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    reza = await studio.a_subscriber(chat)

    offered = await mina.call("channels.transfer", chat=chat, account=reza.id)
    before = (await mina.sees(chat))["me"]["role"]
    await reza.call("channels.answer_transfer", chat=chat, accept=True)

    assert offered["until"] > OFFER_MS
    assert before == "owner"
    assert (await reza.sees(chat))["me"]["role"] == "owner"
    assert (await mina.sees(chat))["me"]["role"] == "admin"
    entries = (await reza.call("channels.log", chat=chat))["entries"]
    assert [(one["act"], one["by"], one["more"]) for one in entries] == [
        ("transfer", reza.id, {"from": mina.id})
    ]
    again = await reza.refusal("channels.answer_transfer", chat=chat, accept=True)
    assert again.code is ErrorCode.NOT_FOUND


async def test_given_a_transfer_without_confirmation_then_it_is_refused(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    reza = await studio.a_subscriber(chat)

    refused = await mina.refusal("chats.transfer", chat=chat, account=reza.id)

    assert (refused.code, refused.details) == (ErrorCode.FORBIDDEN, {"right": "confirmation"})


async def test_given_an_offer_when_declined_or_taken_back_or_expired_then_nothing_changes(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    reza = await studio.a_subscriber(chat)

    for who in (reza, mina):
        await mina.call("channels.transfer", chat=chat, account=reza.id)
        await who.call("channels.answer_transfer", chat=chat, accept=False)
        gone = await reza.refusal("channels.answer_transfer", chat=chat, accept=True)
        assert gone.code is ErrorCode.NOT_FOUND
    await mina.call("channels.transfer", chat=chat, account=reza.id)
    own = await mina.refusal("channels.answer_transfer", chat=chat, accept=True)
    await studio.run("update channel_offer set until = 1 where chat_id = $1", int(chat))
    late = await reza.refusal("channels.answer_transfer", chat=chat, accept=True)

    assert own.details == {"right": "confirmation"}
    assert late.code is ErrorCode.NOT_FOUND
    assert (await mina.sees(chat))["me"]["role"] == "owner"


async def test_given_an_offer_when_its_giver_owns_the_channel_no_more_then_it_gives_nothing(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    reza, sara = await studio.a_subscriber(chat), await studio.a_subscriber(chat)
    await mina.call("channels.transfer", chat=chat, account=reza.id)
    await studio.seats(chat, mina, role=1)
    await studio.seats(chat, sara, role=4)

    refused = await reza.refusal("channels.answer_transfer", chat=chat, accept=True)

    assert refused.code is ErrorCode.FORBIDDEN


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({}, ErrorCode.INVALID),
        ({"signed": "yes"}, ErrorCode.BAD_REQUEST),
        ({"reactions": ["word"]}, ErrorCode.INVALID),
        ({"reactions": ["👍"] * 21}, ErrorCode.BAD_REQUEST),
        ({"category": "nothing"}, ErrorCode.BAD_REQUEST),
        ({"photo": "0"}, ErrorCode.BAD_REQUEST),
        ({"photo": "9999999999999999999"}, ErrorCode.INVALID),
        ({"chat": "9999999999999999999"}, ErrorCode.NO_CHAT),
        ({"chat": 5}, ErrorCode.BAD_REQUEST),
    ],
)
async def test_given_a_bad_configuration_then_it_is_refused_and_nothing_is_stored(
    mina: Person, fields: dict[str, object], code: ErrorCode
) -> None:
    chat = await mina.founds()

    refused = await mina.refusal("channels.configure", **{"chat": chat, **fields})

    assert refused.code is code
    assert (await mina.sees(chat))["last"]["ev"] == 0


async def test_given_a_group_when_asked_as_a_channel_then_it_is_told_to_its_members_alone(
    mina: Person, reza: Person
) -> None:
    group = await mina.groups()

    own = await mina.refusal("channels.configure", chat=group, category="news")
    other = await reza.refusal("channels.configure", chat=group, category="news")

    assert (own.code, own.details["why"]) == (ErrorCode.INVALID, "not a channel")
    assert other.code is ErrorCode.NO_CHAT


async def test_given_an_admin_who_edits_others_then_a_post_keeps_its_signature(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    editor = await studio.person("ویراستار")
    await studio.seats(chat, editor, role=3, rights=OTHERS)
    sent = await mina.posts(chat, "سلام", sign=True)

    await editor.call("messages.edit", chat=chat, seq=sent["seq"], text="درود")

    [post] = await editor.history(chat)
    assert (post["text"], post["signed"], post["from"]) == ("درود", {"name": "مینا"}, chat)
