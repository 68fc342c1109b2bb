"""Heads of big chats: the newest one arrives, however the nodes that tell them interleave."""

from collections.abc import AsyncIterator

import pytest

from messenger.client.websocket import Client
from messenger.ids import ChatId
from messenger.log.repair import Untold
from messenger.log.store import Head
from messenger.settings import Settings
from tests.support.platform import Platform, connected, running

BIG = 1


@pytest.fixture(scope="module")
async def node(settings: Settings) -> AsyncIterator[Platform]:
    """Chats of more than two members are big here."""
    async with running(settings, small_chat=2) as platform:
        yield platform


@pytest.fixture
async def mina(node: Platform) -> AsyncIterator[Client]:
    client = await connected(node, await node.signs_up("Mina"))
    yield client
    await client.close()


async def a_big_group(node: Platform, owner: Client) -> str:
    members = [(await node.signs_up(name)).account for name in ("Reza", "Sara")]
    request = {"kind": "group", "title": "big", "members": members, "random_id": "1"}
    chat = str((await owner.rpc("chats.create", request))["chat"]["id"])
    await owner.wait_until(lambda: chat in owner.state.chats and owner.ready)
    assert owner.state.chats[chat].big
    return chat


def tell(node: Platform, chat: str, ev: int) -> None:
    """As a node tells that swept a dead one."""
    head = Head(epoch=1, ev=ev, seq=ev, at=0, flags=BIG, purged_ev=0, member_ver=0)
    node.node.delivery.repaired(Untold(ChatId(int(chat)), head, [], []))


async def test_given_heads_of_two_nodes_when_an_older_one_comes_last_then_the_newest_is_told(
    node: Platform, mina: Client
) -> None:
    chat = await a_big_group(node, mina)
    tell(node, chat, 10)
    await mina.wait_until(lambda: mina.state.chats[chat].head_ev == 10)

    for ev in (11, 13, 12):
        tell(node, chat, ev)
    await mina.wait_until(lambda: mina.state.chats[chat].head_ev > 10)

    assert mina.state.chats[chat].head_ev == 13
