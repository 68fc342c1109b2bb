"""What posts have that other messages have not."""

import json
import time

import msgspec
import pytest

from messenger.log.events import Right
from messenger.wire.codes import ErrorCode
from tests.channels.studio import Person, Studio, a_badge, a_name, an_id
from tests.support.people import becomes


async def test_given_a_post_then_the_channel_speaks_and_no_admin_is_named_anywhere(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    reader = await studio.a_subscriber(chat)
    topic = await studio.topic(f"chat:{chat}")

    await mina.posts(chat)
    live = await topic.says(b"message.new")
    await mina.call("chats.pin_message", chat=chat, seq=1, on=True)
    pinned = await topic.says(b"message.pinned")
    await mina.call("messages.edit", chat=chat, seq=1, text="درود")
    edited = await topic.says(b"message.edited")
    [shown] = await reader.history(chat)
    found = await reader.call("messages.get", chat=chat, seqs=[1])
    await mina.call("messages.delete", chat=chat, seqs=[1], **{"for": "all"})
    deleted = await topic.says(b"message.deleted")
    missed = await reader.call("sync.difference", aev=0, chats=[[chat, 1, 0]])

    told = b"".join([live, pinned, edited, deleted, json.dumps([shown, found, missed]).encode()])
    assert mina.id.encode() not in told
    assert shown["from"] == chat
    assert len(missed["chats"][0]["events"]) == 4


async def test_given_admins_then_they_alone_learn_who_wrote_a_post(
    studio: Studio, mina: Person, sara: Person
) -> None:
    chat = await mina.founds()
    reader = await studio.a_subscriber(chat)
    await studio.seats(chat, sara, role=3, rights=int(Right.POST))
    await mina.posts(chat)
    await sara.posts(chat)

    posts = (await sara.call("channels.authors", chat=chat, seqs=[1, 2, 9]))["posts"]
    refused = await reader.refusal("channels.authors", chat=chat, seqs=[1])

    assert posts == [{"seq": 1, "account": mina.id}, {"seq": 2, "account": sara.id}]
    assert refused.details == {"right": "admin"}


@pytest.mark.parametrize("mode", ["name", "profile"])
async def test_given_a_channel_that_signs_then_posts_say_who_wrote_them_with_the_badge(
    studio: Studio, mina: Person, mode: str
) -> None:
    chat = await mina.founds()
    topic = await studio.topic(f"chat:{chat}")
    fact = a_badge(None, "مینا", mina.account)
    await studio.run(
        "update account set badge = $2::jsonb, badge_epoch = 3 where account_id = $1",
        mina.account,
        msgspec.json.encode(fact).decode(),
    )
    await mina.call("channels.configure", chat=chat, signed=mode)

    await mina.posts(chat, sign=True)

    live = json.loads((await topic.says(b"message.new")).partition(b" ")[2])["m"]
    [shown] = await mina.history(chat)
    assert live["signed"] == shown["signed"]
    assert (shown["signed"]["name"], shown["from"]) == ("مینا", chat)
    assert shown["signed"].get("account") == (mina.id if mode == "profile" else None)
    assert shown["signed"]["badge"]["label"] == "خبرگزاری"


async def test_given_a_channel_known_to_sign_then_its_posts_are_signed_unasked_and_in_order(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    await mina.call("channels.configure", chat=chat, signed="name")
    await mina.posts(chat, "0", sign=True)

    for number in range(1, 6):
        await mina.posts(chat, str(number))

    shown = await mina.history(chat)
    assert [post["text"] for post in shown] == [str(number) for number in range(6)]
    assert all(post["signed"] == {"name": "مینا"} for post in shown)


async def test_given_a_channel_that_does_not_sign_then_a_post_is_signed_only_if_asked(
    mina: Person,
) -> None:
    chat = await mina.founds()

    await mina.posts(chat)
    await mina.posts(chat, sign=True)

    plain, signed = await mina.history(chat)
    assert "signed" not in plain
    assert signed["signed"] == {"name": "مینا"}


async def test_given_a_signed_post_when_repeated_under_a_new_name_then_it_is_the_same_post(
    studio: Studio, mina: Person
) -> None:
    chat, key = await mina.founds(), an_id()
    first = await mina.posts(chat, random_id=key, sign=True)
    await mina.call("accounts.update", name="نام تازه")

    again = await mina.posts(chat, random_id=key, sign=True)

    assert (again["seq"], again["dup"]) == (first["seq"], True)


async def test_given_preview_and_album_then_they_are_kept_by_edits_and_cut_off_by_null(
    mina: Person,
) -> None:
    chat = await mina.founds()
    preview = {"url": "https://example.ir/a", "title": "عنوان", "site": "example"}
    await mina.posts(chat, preview=preview, album="5")

    await mina.call("messages.edit", chat=chat, seq=1, text="دیگر")
    [kept] = await mina.history(chat)
    await mina.call("messages.edit", chat=chat, seq=1, text="دیگر", preview=None)
    [cut] = await mina.history(chat)

    assert (kept["preview"], kept["album"], kept["text"]) == (preview, "5", "دیگر")
    assert "preview" not in cut
    assert cut["album"] == "5"


@pytest.mark.parametrize(
    "fields",
    [
        {"preview": {"url": "javascript:x"}},
        {"preview": {"title": "x"}},
        {"preview": {"url": "https://a.ir", "title": "x" * 257}},
        {"album": "0"},
        {"sign": "yes"},
    ],
)
async def test_given_a_bad_post_then_it_is_refused_and_takes_no_number(
    mina: Person, fields: dict[str, object]
) -> None:
    chat = await mina.founds()

    refused = await mina.refusal("messages.send", chat=chat, text="x", random_id="1", **fields)

    assert refused.code is ErrorCode.BAD_REQUEST
    assert (await mina.sees(chat))["last"]["ev"] == 0


async def test_given_allowed_reactions_then_others_are_refused_and_counts_are_exact(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    await mina.posts(chat)
    await mina.call("channels.configure", chat=chat, reactions=["👍"])
    readers = [await studio.a_subscriber(chat) for _ in range(3)]

    for reader in readers:
        await reader.call("messages.react", chat=chat, seq=1, emoji="👍")
    await readers[0].call("messages.react", chat=chat, seq=1, emoji=None)
    refused = await readers[1].refusal("messages.react", chat=chat, seq=1, emoji="👎")

    [post] = await mina.history(chat)
    assert refused.code is ErrorCode.REACTION_NOT_ALLOWED
    assert post["reactions"] == {"👍": 2}


async def test_given_a_stranger_when_reacting_then_the_channel_does_not_exist_for_them(
    studio: Studio, mina: Person, reza: Person
) -> None:
    chat = await mina.founds()
    await mina.posts(chat)
    await mina.call("channels.configure", chat=chat, reactions=["👍"])

    refused = await reza.refusal("messages.react", chat=chat, seq=1, emoji="👎")

    assert refused.code is ErrorCode.NO_CHAT


async def test_given_a_forward_of_a_public_post_then_its_origin_is_the_channel_and_it_is_counted(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds(username=a_name())
    reader = await studio.a_subscriber(chat)
    group = await reader.groups()
    await mina.posts(chat)
    key = an_id()
    forward = {"from": chat, "seqs": [1], "to": group, "random_ids": [key]}

    await reader.call("messages.forward", **forward)
    await reader.call("messages.forward", **forward)

    async def forwards() -> int:
        stats = await reader.call("channels.stats", chat=chat, seqs=[1])
        return int(stats["posts"][0]["forwards"])

    await becomes(forwards, 1)
    [shown] = await reader.history(group)
    assert (shown["fwd"]["chat"], shown["fwd"]["seq"]) == (chat, 1)
    assert "account" not in shown["fwd"]


async def test_given_a_private_channel_then_a_forward_names_neither_chat_nor_author(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    group = await mina.groups()
    await mina.posts(chat)

    await mina.call(
        "messages.forward", **{"from": chat, "seqs": [1], "to": group, "random_ids": [an_id()]}
    )

    [shown] = await mina.history(group)
    assert set(shown["fwd"]) == {"at"}


async def test_given_a_scheduled_post_in_a_channel_then_it_is_kept_signed(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    due = int(time.time() * 1000) + 3_600_000

    kept = await mina.posts(chat, schedule_at=due, sign=True)

    rows = await studio.rows("select extra from scheduled where chat_id = $1", int(chat))
    assert "scheduled_id" in kept
    assert rows[0][0]["signed"] == {"name": "مینا"}


async def test_given_many_posts_when_pinned_then_several_stay_and_the_log_of_the_chat_tells(
    mina: Person,
) -> None:
    chat = await mina.founds()
    for _ in range(3):
        await mina.posts(chat)

    for seq in (1, 3):
        await mina.call("chats.pin_message", chat=chat, seq=seq, on=True)

    pins = (await mina.call("chats.pins", chat=chat))["messages"]
    assert [pin["seq"] for pin in pins] == [3, 1]


async def test_given_a_post_then_its_own_devices_get_it_with_the_random_id_and_no_row_is_written(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    before = await studio.rows("select count(*) from member where chat_id = $1", int(chat))
    for _ in range(3):
        await studio.a_subscriber(chat)

    await mina.posts(chat)

    rows = await studio.rows(
        "select count(*) from account_event where chat_id = $1 and kind = 1", int(chat)
    )
    assert before[0][0] == 1
    assert rows[0][0] <= 1  # the author's own cursor, nobody else's
