"""How a post travels: once to those who look, a head to the others, sooner from verified ones."""

import json
import time

from channels.facts import PACED_FROM, ChannelFacts
from messenger.chats.store.chats import ChatRows
from messenger.delivery.audience import Audience
from messenger.ids import ChatId
from tests.channels.studio import Person, Studio

FAR = 3.0  # s: a usual head comes within one


def facts_of(studio: Studio) -> ChannelFacts:
    return ChannelFacts(ChatRows(studio.db), lambda: int(time.time() * 1000))


async def test_given_posts_then_those_who_look_hear_each_and_the_others_one_head(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    looking, away = await studio.topic(f"chat:{chat}"), await studio.topic(f"dirty:{chat}")

    for _ in range(5):
        await mina.posts(chat)

    heard = [await looking.says(b"message.new") for _ in range(5)]
    head = json.loads(await away.says(b'"ev":5'))
    assert [int(one.split(b" ", 1)[0]) for one in heard] == [1, 2, 3, 4, 5]
    assert (head["t"], head["chat"], head["seq"]) == ("chat.dirty", chat, 5)
    assert away.payloads.qsize() == 0


async def test_given_a_verified_channel_then_its_head_takes_the_urgent_lane(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    await studio.verifies(chat)
    away = await studio.topic(f"dirty:{chat}")
    await mina.posts(chat, sign=True)  # from here on the node knows the channel
    await away.says(b'"ev":1')

    began = time.monotonic()
    await mina.posts(chat)
    head = await away.says(b'"ev":2')

    assert head.startswith(b"u {")
    assert time.monotonic() - began < FAR


async def test_given_what_is_known_of_a_channel_then_its_audience_follows(
    studio: Studio, mina: Person
) -> None:
    chat, large, verified = [await mina.founds() for _ in range(3)]
    await studio.run("update chat set member_count = $2 where chat_id = $1", int(large), PACED_FROM)
    await studio.verifies(verified)
    facts = facts_of(studio)

    before = [facts.audience(ChatId(int(one))) for one in (chat, large, verified)]
    for one in (chat, large, verified):
        await facts.channel(ChatId(int(one)))
    after = [facts.audience(ChatId(int(one))) for one in (chat, large, verified)]

    assert before == [Audience.USUAL] * 3
    assert after == [Audience.USUAL, Audience.PACED, Audience.URGENT]


async def test_given_a_group_or_nothing_then_it_is_no_channel(studio: Studio, mina: Person) -> None:
    facts = facts_of(studio)
    group = ChatId(int(await mina.groups()))

    assert await facts.channel(group) is None
    assert await facts.channel(ChatId(5)) is None
    assert not await facts.is_verified(group)
    assert facts.audience(group) is Audience.USUAL


async def test_given_a_badge_of_another_name_then_the_channel_is_not_verified(
    studio: Studio, mina: Person
) -> None:
    chat = await mina.founds()
    await studio.verifies(chat)
    await mina.call("chats.update", chat=chat, about="درباره")
    facts = facts_of(studio)
    before = await facts.is_verified(ChatId(int(chat)))

    await studio.run("update chat set title = 'دیگر' where chat_id = $1", int(chat))
    facts.forget(ChatId(int(chat)))

    assert (before, await facts.is_verified(ChatId(int(chat)))) == (True, False)
