"""100,000 random and mutated frames (a million as a proof) in both encodings against a live node.

Nothing may crash it, no handler may raise, nothing may stay behind, and every socket it closes
carries a code that the protocol names for bad input.
"""

import asyncio
import base64
import json
import logging
import os
import random
from collections import Counter
from collections.abc import AsyncIterator

import msgspec
import pytest

from messenger.sections import ClientSection, NamespaceOptions, TopicsSection
from messenger.settings import Settings
from messenger.wire.codec import JSON, PROTOBUF, Codec
from messenger.wire.messages import Command, ConnectRequest
from tests.support.platform import Platform, SignedIn, running

FRAMES = 100_000
MANY = pytest.param(1_000_000, marks=[pytest.mark.proof, pytest.mark.timeout(1_800)])
POOL = 1_000  # nearly right frames per worker; mutation makes each use a new one
PER_CONNECTION = 400
CONNECTIONS_AT_ONCE = 8
SEED = int(os.environ.get("FUZZ_SEED", "20261122"))
BAD_INPUT = {1002, 1007, 1009, 3500, 3501, 3508}
UPGRADE = (
    "GET /connection/websocket{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
    "Connection: Upgrade\r\nSec-WebSocket-Key: "
    + base64.b64encode(b"0123456789abcdef").decode()
    + "\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
STRINGS = ["", "room:1", "room:2", "user:1", "chat:7", "$x", "a" * 300, "سلام\u200c", "\u0000", "_"]
NUMBERS = [0, 1, -1, 2**31, 2**32, 2**53, 2**63, 2**64, -(2**63) - 1, 1.5, 1e400]
METHODS = [
    "messages.send", "messages.edit", "messages.history", "messages.read", "messages.search",
    "messages.typing", "messages.delete", "messages.react", "messages.forward", "sync.heads",
    "sync.difference", "sync.check", "accounts.get", "accounts.update", "accounts.privacy",
    "accounts.presence", "accounts.watch", "accounts.block", "system.echo", "no.such", "",
]  # fmt: skip
FIELDS = [
    "chat", "text", "random_id", "seq", "seqs", "ids", "cursors", "aev", "chats", "limit", "q",
    "after", "before", "kind", "emoji", "ents", "name", "username", "set", "on", "account",
]  # fmt: skip


@pytest.fixture(scope="module")
async def node(settings: Settings) -> AsyncIterator[Platform]:
    room = NamespaceOptions(
        history_size=10,
        history_ttl_s=60,
        presence=True,
        force_recovery=True,
        allow_subscribe_for_client=True,
        allow_publish_for_client=True,
        allow_history_for_client=True,
        allow_presence_for_client=True,
    )
    client = ClientSection(allow_anonymous=True, token=settings.client.token)
    topics = TopicsSection(ns={**settings.topics.ns, "room": room})
    async with running(settings, client=client, topics=topics, command_rate=1e9) as platform:
        yield platform


def value(random_: random.Random, depth: int = 0) -> object:
    kind = random_.randrange(8 if depth < 4 else 5)
    if kind == 0:
        return random_.choice(STRINGS)
    if kind == 1:
        return random_.choice(NUMBERS[:9])
    if kind == 2:
        return str(random_.choice(NUMBERS[:7]))
    if kind == 3:
        return random_.choice([None, True, False])
    if kind == 4:
        return "".join(chr(random_.randrange(32, 0x700)) for _ in range(random_.randrange(20)))
    if kind == 5:
        return [value(random_, depth + 1) for _ in range(random_.randrange(5))]
    names = random_.sample(FIELDS, random_.randrange(5))
    return {name: value(random_, depth + 1) for name in names}


def command(random_: random.Random) -> dict[str, object]:
    """A command that is nearly right."""
    id = random_.choice([1, 2, 77, 2**32 - 1])
    topic = random_.choice(STRINGS)
    choices: list[dict[str, object]] = [
        {"subscribe": {"channel": topic, "recover": True, "offset": random_.randrange(9)}},
        {"unsubscribe": {"channel": topic}},
        {"publish": {"channel": topic, "data": value(random_)}},
        {"history": {"channel": topic, "limit": random_.randrange(-2, 9)}},
        {"presence": {"channel": topic}},
        {"presence_stats": {"channel": topic}},
        {"sub_refresh": {"channel": topic, "token": random_.choice(STRINGS)}},
        {},
    ]
    fields = {name: value(random_, 2) for name in random_.sample(FIELDS, random_.randrange(6))}
    rpc: dict[str, object] = {"rpc": {"method": random_.choice(METHODS), "data": fields}}
    return {"id": id, **(rpc if random_.random() < 0.7 else random_.choice(choices))}


def valid(random_: random.Random, codec: Codec) -> bytes:
    """The payload of one frame of commands that are nearly right."""
    while True:
        commands = [command(random_) for _ in range(random_.choice([1, 1, 1, 2, 3]))]
        if not codec.BINARY:
            return "\n".join(json.dumps(one) for one in commands).encode()
        try:
            structs = [msgspec.convert(one, Command, strict=False) for one in plain(commands)]
            return codec.encode_commands(structs)
        except (msgspec.ValidationError, OverflowError, ValueError):
            continue  # what the encoder cannot say, mutation will


def mutated(random_: random.Random, data: bytes) -> bytes:
    """The payload as it is, or with flipped bytes, or cut short, or noise."""
    dice = random_.random()
    if dice < 0.004:
        return random_.randbytes(random_.randrange(40))
    if dice < 0.014:
        mutable = bytearray(data)
        for _ in range(random_.randrange(1, 4)):
            mutable[random_.randrange(len(mutable))] = random_.randrange(256)
        return bytes(mutable)
    return data[: random_.randrange(len(data) + 1)] if dice < 0.017 else data


def plain(commands: list[dict[str, object]]) -> list[dict[str, object]]:
    """Raw fields as raw JSON."""
    for one in commands:
        for request in one.values():
            if isinstance(request, dict) and "data" in request:
                request["data"] = msgspec.Raw(json.dumps(request["data"]).encode())
    return commands


def frame(payload: bytes, first: int) -> bytes:
    """A masked client frame; a mask of zeros leaves the payload as it is."""
    length = len(payload)
    head = bytes([first])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 65536:
        head += bytes([0x80 | 126]) + length.to_bytes(2, "big")
    else:
        head += bytes([0x80 | 127]) + length.to_bytes(8, "big")
    return head + b"\0\0\0\0" + payload


def ending(data: bytes) -> tuple[int | None, bytes]:
    """The close code at the end of a server's stream, and the payloads before it."""
    at, payloads = 0, []
    while at + 2 <= len(data):
        first, length = data[at], data[at + 1]
        at += 2
        if length == 126:
            length = int.from_bytes(data[at : at + 2], "big")
            at += 2
        elif length == 127:
            length = int.from_bytes(data[at : at + 8], "big")
            at += 8
        payload = data[at : at + length]
        at += length
        if first == 0x88:
            return int.from_bytes(payload[:2], "big") or None, b"\n".join(payloads)
        payloads.append(payload)
    return None, b"\n".join(payloads)


async def one_connection(
    node: Platform,
    random_: random.Random,
    codec: Codec,
    pool: list[bytes],
    token: str,
    codes: Counter[int | None],
) -> int:
    """Frames until the node has enough of it; how many were sent."""
    query = "?format=protobuf" if codec.BINARY else ""
    reader, writer = await asyncio.open_connection("127.0.0.1", node.settings.port)
    writer.write(UPGRADE.format(query=query).encode())
    assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
    hello = codec.encode_commands([Command(id=1, connect=ConnectRequest(token=token))])
    first = 0x82 if codec.BINARY else 0x81
    writer.write(frame(hello, first))
    sent = 0
    reading = asyncio.ensure_future(reader.read(-1))
    for _ in range(PER_CONNECTION):
        if reading.done():
            break
        opcode = random_.choice([0x81, 0x82]) if random_.random() < 0.001 else first
        writer.write(frame(mutated(random_, random_.choice(pool)), opcode))
        sent += 1
        if sent % 20 == 0:
            await writer.drain()
            await asyncio.sleep(0)
    writer.write(frame(b"", 0x88) if random_.random() < 0.5 else b"")
    if writer.can_write_eof():
        writer.write_eof()
    async with asyncio.timeout(15):
        code, payloads = ending(await reading)
    writer.close()
    assert b'"code":100,' not in payloads, payloads[:2000]
    codes[code] += 1
    return sent


@pytest.mark.slow
@pytest.mark.timeout(150)
@pytest.mark.parametrize("frames", [FRAMES, MANY])
async def test_given_any_frames_when_they_come_then_the_node_lives_and_says_why_it_closes(
    node: Platform, caplog: pytest.LogCaptureFixture, frames: int
) -> None:
    people: list[SignedIn] = [await node.signs_up(f"fuzz {n}") for n in range(4)]
    codes: Counter[int | None] = Counter()
    sent = 0

    async def worker(number: int) -> None:
        nonlocal sent
        random_ = random.Random(SEED + number)  # noqa: S311 - seeded, no secret
        codec = PROTOBUF if number % 2 else JSON
        pool = [valid(random_, codec) for _ in range(POOL)]
        while sent < frames:
            token = random_.choice([*(one.token for one in people), ""])
            try:
                sent += await one_connection(node, random_, codec, pool, token, codes)
            except (ConnectionResetError, BrokenPipeError):
                codes[None] += 1

    with caplog.at_level(logging.ERROR):
        async with asyncio.TaskGroup() as tasks:
            for number in range(CONNECTIONS_AT_ONCE):
                tasks.create_task(worker(number))

    assert sent >= frames
    assert caplog.records == []
    bad = {code for code in codes if code is not None} - BAD_INPUT - {1000, 1005, 4001}
    assert not bad, codes
    assert codes[3501] > 100
    await asyncio.wait_for(_empty(node), 5)


async def _empty(node: Platform) -> None:
    while node.node.gateway.sessions:  # noqa: ASYNC110 - a count, not an event
        await asyncio.sleep(0.01)
