"""Whatever people do and sockets suffer: at rest every device knows what a cold one learns.

Seeded histories over two nodes and ten devices. The plain model beside counts what was answered;
the tables say whether the numbers are dense.
"""

from functools import partial

import pytest

from messenger.client.errors import Json
from messenger.client.model import Chat, Model
from tests.properties.history import History
from tests.properties.truth import ChatTruth
from tests.support.people import Device, Person, becomes, people, until
from tests.support.platform import Platform
from tests.support.rows import Rows

NAMES = ("Mina", "رضا", "Sara", "علی", "Zari")
STEPS = 30
REST_S = 10.0
SEEN_INFO = ("title", "about", "kind", "rights", "slow_s", "peer")
SEEN_SETTINGS = ("muted_until", "pin", "folder")


@pytest.mark.timeout(60)
@pytest.mark.parametrize(("seed", "steps"), [(1, 30), (3, 100)])
async def test_given_a_random_history_when_it_comes_to_rest_then_all_devices_agree_with_the_model(
    small_nodes: list[Platform], rows: Rows, seed: int, steps: int
) -> None:
    await converges(small_nodes, rows, seed, steps)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("seed", [2])
async def test_given_big_chats_on_some_screens_when_it_comes_to_rest_then_all_devices_agree(
    big_nodes: list[Platform], rows: Rows, seed: int
) -> None:
    await converges(big_nodes, rows, seed)


@pytest.mark.proof
@pytest.mark.timeout(3_600)
async def test_given_a_hundred_histories_when_each_rests_then_all_devices_agree(
    small_nodes: list[Platform], big_nodes: list[Platform], rows: Rows
) -> None:
    for seed in range(1_000, 1_100):
        await converges(big_nodes if seed % 2 else small_nodes, rows, seed, steps=100)


async def converges(doors: list[Platform], rows: Rows, seed: int, steps: int = STEPS) -> None:
    """One history from its first action to the comparison of everything with everything."""
    print(f"seed {seed}")  # noqa: T201 - to repeat a failure
    async with people(NAMES, doors) as persons:
        history = History(seed, persons, doors)
        await history.begins()
        await history.plays(steps)
        await rests(history, rows)
        await numbers_are_dense(history, rows)
        for device in history.devices:
            device.applied_in_order()
        for person in persons:
            await agree(history, rows, person)
        await strangers_heard_nothing(history, rows)
    assert history.done["message"] > 20, history.done


async def rests(history: History, rows: Rows) -> None:
    """Nothing more is on its way: outboxes are empty, late facts are told, heads are reached."""
    for device in history.devices:
        await device.client.wait_until(
            lambda device=device: device.client.ready and not device.client.core.unsent
        )
    for chat in history.firm:
        await becomes(partial(rows.cursors, chat.id), dict(chat.read))
    await until(partial(loose_cursors_are_moved, history, rows))
    await becomes(partial(rows.late_reactions, [chat.id for chat in history.chats]), 0)
    for device in history.devices:
        wanted = await rows.heads_of(device.account), await rows.aev(device.account)
        await becomes(partial(known, device), wanted)
        assert (await device.client.rpc("sync.check", {"digest": digest(device)}))["same"]
        assert device.client.core is not None
        assert device.client.core.problems == []


async def loose_cursors_are_moved(history: History, rows: Rows) -> bool:
    """Who was put out for a while has a cursor where they joined again, or beyond."""
    cursors = await rows.cursors(history.loose.id)
    return all(cursors[account] >= history.loose.read[account] for account in history.inside)


async def known(device: Device) -> tuple[dict[str, int], int]:
    """The heads a device knows of; it need not know what is in a big chat it does not look at."""
    state = device.client.state
    return {chat.id: max(chat.ev, chat.head_ev) for chat in state.chats.values()}, state.aev


def digest(device: Device) -> str:
    assert device.client.core is not None
    return device.client.core.digest()


async def numbers_are_dense(history: History, rows: Rows) -> None:
    for chat in history.chats:
        last_seq, last_ev = await rows.head(chat.id)
        assert await rows.seqs(chat.id) == list(range(1, last_seq + 1))
        assert await rows.evs(chat.id) == list(range(1, last_ev + 1))
        assert await rows.keys(chat.id) == list(range(1, last_seq + 1)), "one key, one message"
        assert sorted(chat.senders) == list(range(1, last_seq + 1)), "acked, and nothing else"
    for person in history.persons:
        aevs, last = await rows.aevs(person.account), await rows.aev(person.account)
        assert len(set(aevs)) == len(aevs)
        assert aevs[-1] == last
        told = {one["aev"] for device in person.devices for _, one in device.heard if "aev" in one}
        assert told | set(aevs) == set(range(1, last + 1)) | told, "given, or replaced by a newer"


async def agree(history: History, rows: Rows, person: Person) -> None:
    """Each device of the person, a cold one in its place, the tables and the plain model."""
    chats = [chat for chat in history.chats if person.account in history.members(chat)]
    for device in person.devices:
        warm, cold = device.client.state, await starts_cold(history, device)
        assert sorted(warm.chats) == sorted(cold.chats) == sorted(chat.id for chat in chats)
        for chat in chats:
            assert seen(warm, chat.id, cold) == seen(cold, chat.id, cold), chat.id
            await agrees_with_model(rows, person, chat, cold.chats[chat.id])
    for chat in chats:
        answer = await person.devices[0].client.rpc("chats.pins", {"chat": chat.id})
        pinned = {message["seq"] for message in answer["messages"]}
        assert pinned == chat.pinned(person.account)


async def starts_cold(history: History, device: Device) -> Model:
    """What a new installation would learn; the device goes on with it."""
    for chat in device.client.state.chats.values():
        topic = f"chat:{chat.id}"
        if chat.big and topic not in device.client.link.wanted:
            await device.client.subscribe(topic)  # what is not on screen need not be known
    await device.client.wait_until(
        lambda: all(not chat.changed for chat in device.client.state.chats.values())
    )
    await device.client.wait_until(lambda: device.client.ready)
    warm = device.client
    await warm.close()
    cold = Device(device.signed_in, binary=device.binary)
    await cold.comes(history.doors[0])
    model = cold.client.state
    device.replaces(cold)
    return model


def seen(model: Model, id: str, cold: Model) -> Json:
    """What one sees of a chat, from where the cold device's newest page begins."""
    chat = model.chats[id]
    least = min(cold.chats[id].messages, default=0)
    floor = max(chat.read_seq, chat.cleared_seq)
    gone = chat.hidden | chat.deleted
    return {
        "numbers": (chat.epoch, chat.ev, chat.last_seq, chat.read_seq, chat.cleared_seq),
        "shown": {seq: shown for seq, shown in visible(chat).items() if seq >= least},
        "gone": {seq for seq in gone if seq > floor},
        "unread": chat.unread,
        "info": {key: chat.info.get(key) for key in SEEN_INFO},
        "settings": {key: chat.settings.get(key) for key in SEEN_SETTINGS},
        "big": chat.big,
    }


def visible(chat: Chat) -> dict[int, Json]:
    return {
        seq: {key: value for key, value in message.items() if value}
        for seq, message in chat.messages.items()
        if seq > chat.cleared_seq and seq not in chat.hidden | chat.deleted
    }


async def agrees_with_model(rows: Rows, person: Person, truth: ChatTruth, chat: Chat) -> None:
    account = person.account
    least = min(chat.messages, default=0)
    if account not in truth.moved:
        assert chat.unread == truth.unread(account)
        assert chat.settings["muted_until"] == truth.muted.get(account, 0)
        assert {
            seq: (message["text"], message.get("reactions", {}))
            for seq, message in visible(chat).items()
        } == truth.shown(account, least)
    assert chat.unread == await rows.unread(truth.id, account)
    assert chat.info.get("title", "") == truth.titles[max(truth.titles)]
    if not chat.big and not truth.moved:
        assert await rows.ticks(truth.id) == await rows.cursors(truth.id)


async def strangers_heard_nothing(history: History, rows: Rows) -> None:
    """Between `chat.left` and `chat.joined` nothing came that happened while they were out."""
    chat = history.loose.id
    seats = await rows.seats(chat)
    for device in history.devices:
        turns = [(ev, inside) for ev, account, inside in seats if account == device.account]
        out = False
        for topic, update in device.heard:
            if update.get("chat") != chat:
                continue
            if update["t"] in ("chat.left", "chat.joined"):
                out = update["t"] == "chat.left"
            elif out and "ev" in update:
                before = [inside for ev, inside in turns if ev <= update["ev"]]
                was_inside = before[-1] if before else True
                assert was_inside, f"{topic} told {device.account} of {update}"
