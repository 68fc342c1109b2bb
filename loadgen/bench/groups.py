"""Groups of seeded accounts, and a few posts into them."""

import asyncio
from collections.abc import Sequence

import msgspec

from loadgen.bench.driver import LoadError, Session, rpc
from loadgen.bench.marks import SendFrame
from loadgen.bench.stage import Stage, account_id, fresh_random_id, patient
from messenger.client.errors import Json

ADD_AT_ONCE = 100
ANSWER_S = 30.0
AT_ONCE = 8


async def group(stage: Stage, owner: int, members: Sequence[int]) -> str:
    """A group of the seeded accounts `members`, owned by `owner`."""
    token = stage.token(owner)
    others = [str(account_id(n)) for n in members]
    request: Json = {"kind": "group", "title": "load", "members": others[:ADD_AT_ONCE]}
    random_id = str(fresh_random_id())
    made = await patient(stage, "chats.create", {**request, "random_id": random_id}, token)
    chat = made["chat"] if isinstance(made["chat"], str) else made["chat"]["id"]
    for start in range(ADD_AT_ONCE, len(others), ADD_AT_ONCE):
        more = {"chat": chat, "accounts": others[start : start + ADD_AT_ONCE]}
        await patient(stage, "chats.add_members", more, token)
    return str(chat)


async def groups(stage: Stage, wanted: Sequence[tuple[int, Sequence[int]]]) -> list[str]:
    """A chat for each (owner, members)."""
    chats = [""] * len(wanted)
    waiting = iter(enumerate(wanted))

    async def worker() -> None:
        for place, (owner, members) in waiting:
            chats[place] = await group(stage, owner, members)

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(worker())
    return chats


class Asker:
    """A session that asks and waits; not for what is measured."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self._answers: dict[bytes, asyncio.Future[bytes]] = {}
        self._next = 10

    async def connect(self, stage: Stage, number: int) -> None:
        self.session = await stage.driver.connect(stage.token(number), self.heard)

    def heard(self, _session: Session, data: bytes) -> None:
        if data.startswith(b'{"id":'):
            answer = self._answers.pop(data[6 : data.find(b",", 6)], None)
            if answer is not None and not answer.done():
                answer.set_result(data)

    async def ask(self, method: str, data: Json) -> Json:
        self._next += 1
        answer = await self._answer(self._next, rpc(self._next, method, data))
        result: Json = msgspec.json.decode(answer)["rpc"]["data"]
        return result

    async def post(self, chat: str, numbers: Sequence[int]) -> None:
        """Messages with these marks; returns when all are acked."""
        frame, waits = SendFrame(chat), []
        for number in numbers:
            self._next += 1
            data = frame.of(self._next, fresh_random_id(), number)
            waits.append(self._answer(self._next, data))
        await asyncio.gather(*waits)

    async def _answer(self, id: int, frame: bytes) -> bytes:
        if self.session is None:
            raise AssertionError("not connected")
        wait = asyncio.get_running_loop().create_future()
        self._answers[b"%d" % id] = wait
        self.session.send(frame)
        async with asyncio.timeout(ANSWER_S):
            answer: bytes = await wait
        if b'"error"' in answer[:40]:
            raise LoadError(answer[:300].decode(errors="replace"))
        return answer
