"""More to tell in one turn than the link to Redis can take: heads instead of a lost link."""

import asyncio
import itertools
from collections.abc import Sequence
from pathlib import Path

import msgspec

from messenger.delivery.fanout import Delivery
from messenger.delivery.members import MemberLists
from messenger.delivery.soles import SoleDevices
from messenger.ids import AccountId, ChatId, DeviceId
from messenger.log.events import Event
from tests.bus.conftest import Node, running
from tests.bus.redis_server import RedisServer

MEMBERS = [AccountId(number) for number in range(1, 201)]
CHATS = [ChatId(number) for number in range(1, 9)]
UPDATE = b'{"t":"message.edit","text":"%b"}' % (b"x" * 16_384)


async def test_given_more_than_a_link_takes_when_told_at_once_then_the_rest_is_told_as_heads(
    tmp_path: Path,
) -> None:
    redis = RedisServer(tmp_path / "redis", cluster_enabled="no")
    await redis.start()
    try:
        async with running(redis.url, bus_queue=1_000_000, redis_timeout=5) as node:
            await _heads_follow(node)
            assert not node.ear.lost.is_set(), "the link was given up"
    finally:
        await redis.kill()


async def _heads_follow(node: Node) -> None:
    members = MemberLists(_load)
    delivery = _delivery(node, members)
    await node.listens("user:7")
    await node.streams.attach_user(7)
    for chat in CHATS:  # the lists are loaded with the first event of each
        delivery.chat_event(_event(chat, 1), b'{"t":"x"}')
    async with asyncio.TaskGroup() as tasks:
        running = [tasks.create_task(delivery.run()), tasks.create_task(members.run())]
        for _ in CHATS:
            await node.ear.next()
        for chat in CHATS:
            delivery.chat_event(_event(chat, 2), UPDATE)  # 3.2 MB each, all in this turn
        heard = [(await node.ear.next())[1].split(b" ", 2)[2] for _ in CHATS]
        for task in running:
            task.cancel()

    full = list(itertools.takewhile(UPDATE.__eq__, heard))
    heads = [msgspec.json.decode(update) for update in heard[len(full) :]]
    assert 0 < len(full) < len(CHATS)
    assert {(head["t"], head["ev"]) for head in heads} == {("chat.dirty", 2)}
    assert [int(head["chat"]) for head in heads] == CHATS[len(full) :]


async def test_given_what_is_told_again_when_the_link_is_lost_once_more_then_it_is_owed_again(
    tmp_path: Path,
) -> None:
    redis = RedisServer(tmp_path / "redis", cluster_enabled="no")
    await redis.start()
    try:
        async with running(redis.url) as node:
            members = MemberLists(_load)
            delivery = _delivery(node, members)
            loading = asyncio.ensure_future(members.run())
            delivery.chat_event(_event(CHATS[0], 1), UPDATE)
            await delivery.flush()
            for _ in range(2):  # what was told again may have gone with the second one
                delivery.link_back()

                assert delivery.owes
                await delivery.flush()
                assert not delivery.owes
            loading.cancel()
    finally:
        await redis.kill()


async def _load(_: ChatId) -> tuple[int, Sequence[AccountId]]:
    return 1, MEMBERS


async def _nobody(_: Sequence[AccountId]) -> dict[AccountId, DeviceId]:
    return {}


def _delivery(node: Node, members: MemberLists) -> Delivery:
    updates = (lambda _: UPDATE, lambda update, _: update)
    return Delivery(node.bus, node.streams, members, SoleDevices(_nobody), updates, node.metrics)


def _event(chat: ChatId, ev: int) -> Event:
    return Event(chat, ev, 0, ev, 2, 0, 1)
