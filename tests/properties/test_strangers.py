"""Who is out hears nothing more, and who is blocked or banned writes nothing more."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from messenger.client.errors import Json, RpcError
from messenger.wire.codes import ErrorCode
from tests.support.people import Device, Person, people
from tests.support.platform import Platform
from tests.support.rows import Rows


@pytest.fixture
async def small(small_nodes: list[Platform]) -> AsyncIterator[list[Person]]:
    async with people(["Mina", "Reza", "Sara", "Ali"], small_nodes) as persons:
        yield persons


@pytest.fixture
async def big(big_nodes: list[Platform]) -> AsyncIterator[list[Person]]:
    """The same where a chat of four is big."""
    async with people(["Mina", "Reza", "Sara", "Ali"], big_nodes) as persons:
        yield persons


async def a_group(persons: list[Person]) -> str:
    """A group of all, made by the first; every device knows it."""
    owner, *others = persons
    request = {
        "kind": "group",
        "title": "all",
        "members": [one.account for one in others],
        "random_id": "9",
    }
    chat = str((await owner.devices[0].client.rpc("chats.create", request))["chat"]["id"])
    for person in persons:
        for device in person.devices:
            await device.client.wait_until(
                lambda device=device: device.client.ready and chat in device.client.state.chats
            )
    return chat


async def sends(device: Device, chat: str, count: int) -> None:
    for number in range(count):
        sending = await device.client.send(chat, f"text {number}")
        await device.client.wait_until(lambda sending=sending: sending.result is not None)


async def knows(device: Device, chat: str, ev: int) -> None:
    await device.client.wait_until(
        lambda: (known := device.client.state.chats[chat]) and max(known.ev, known.head_ev) >= ev
    )


async def leaves(person: Person, owner: Person, chat: str, how: str) -> None:
    """`how`: by oneself, or taken out by the owner."""
    if how == "leave":
        await person.devices[1].client.rpc("chats.leave", {"chat": chat})
    else:
        request: Json = {"chat": chat, "account": person.account, "ban": how == "ban"}
        await owner.devices[0].client.rpc("chats.remove_member", request)
    for device in person.devices:
        await device.client.wait_until(lambda device=device: chat not in device.client.state.chats)


def about(device: Device, chat: str, start: int) -> list[Json]:
    """What the device heard of the chat from number `start` of its publications on."""
    return [update for _, update in device.heard[start:] if update.get("chat") == chat]


@pytest.mark.parametrize("how", ["leave", "ban"])
async def test_given_a_small_group_when_one_goes_then_their_devices_hear_nothing_more(
    small: list[Person], how: str
) -> None:
    owner, other, *_, gone = small
    chat = await a_group(small)
    await leaves(gone, owner, chat, how)
    heard = [len(device.heard) for device in gone.devices]

    await sends(owner.devices[1], chat, 3)
    await owner.devices[0].client.rpc("chats.update", {"chat": chat, "title": "secret"})
    await knows(other.devices[1], chat, 5)

    for device, start in zip(gone.devices, heard, strict=True):
        assert about(device, chat, start) == []
        with pytest.raises(RpcError) as refused:
            await device.client.rpc("messages.history", {"chat": chat})
        assert refused.value.code in (ErrorCode.NO_CHAT, ErrorCode.BANNED)


async def test_given_a_big_group_on_screen_or_not_when_one_goes_then_they_hear_nothing_more(
    big: list[Person],
) -> None:
    owner, other, *_, gone = big
    chat = await a_group(big)
    await gone.devices[0].client.subscribe(f"chat:{chat}")
    await leaves(gone, owner, chat, "remove")
    heard = [len(device.heard) for device in gone.devices]

    await sends(owner.devices[1], chat, 3)
    await knows(other.devices[0], chat, 4)
    await knows(other.devices[1], chat, 4)

    for device, start in zip(gone.devices, heard, strict=True):
        assert about(device, chat, start) == []
        with pytest.raises(RpcError) as refused:
            await device.client.subscribe(f"chat:{chat}")
        assert refused.value.code == ErrorCode.PERMISSION_DENIED


async def test_given_one_who_came_back_to_a_big_group_when_others_write_then_heads_come_again(
    big: list[Person],
) -> None:
    owner, *_, back = big
    chat = await a_group(big)
    await leaves(back, owner, chat, "remove")

    request: Json = {"chat": chat, "accounts": [back.account]}
    await owner.devices[0].client.rpc("chats.add_members", request)
    for device in back.devices:
        await device.client.wait_until(
            lambda device=device: chat in device.client.state.chats and device.client.ready
        )
    await sends(owner.devices[0], chat, 2)

    for device in back.devices:
        await knows(device, chat, 4)


async def shuts_out(persons: list[Person], how: str) -> tuple[str, str, Json]:
    """A chat where the last person writes, and the rpc by which the first one ends that."""
    owner, *_, loud = persons
    if how == "block":
        answer = await owner.devices[0].client.rpc("chats.open_direct", {"account": loud.account})
        return str(answer["chat"]["id"]), "accounts.block", {"account": loud.account, "on": True}
    chat = await a_group(persons)
    request: Json = {"chat": chat, "account": loud.account}
    if how == "ban":
        return chat, "chats.remove_member", {**request, "ban": True}
    return chat, "chats.restrict", {**request, "deny": ["post"]}


@pytest.mark.parametrize("how", ["block", "ban", "restrict"])
async def test_given_one_who_writes_without_pause_when_shut_out_then_nothing_after_the_ack(
    small: list[Person], rows: Rows, how: str
) -> None:
    owner, *_, loud = small
    chat, method, request = await shuts_out(small, how)
    at_it = asyncio.Event()
    refusals: list[int] = []

    async def writes(device: Device, random_id: int) -> None:
        """Until it is refused again and again."""
        while len(refusals) < 10:
            random_id += len(loud.devices)
            message = {"chat": chat, "random_id": str(random_id), "text": "!"}
            try:
                answer = await device.client.rpc("messages.send", message)
            except RpcError as refused:
                refusals.append(refused.code)
            else:
                if answer["seq"] > 6:
                    at_it.set()

    async with asyncio.TaskGroup() as tasks:
        for number, device in enumerate(loud.devices):
            tasks.create_task(writes(device, number))
        await at_it.wait()
        await owner.devices[0].client.rpc(method, request)
        last_seq, _ = await rows.head(chat)

    assert set(refusals) <= {ErrorCode.FORBIDDEN, ErrorCode.BANNED, ErrorCode.NO_CHAT}
    assert (await rows.head(chat))[0] == last_seq
