"""A process that counts views as a node does, to be killed: calls on stdin, answers on stdout."""

import asyncio
import json
import sys
from typing import Any

from channels.feature import assemble
from channels.protocol import View, Views
from messenger.db.engine import Database
from messenger.feature import Answer, Caller, Refused
from messenger.ids import AccountId, DeviceId
from messenger.log.store import ChatStore


async def serve(url: str) -> None:
    database = await Database.connect(url, 2)
    nothing: Any = None
    log = ChatStore(database)
    viewing = assemble(database, nothing, nothing, nothing, log, lambda: 0).viewing
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)

    def answer(number: int, settled: Answer | Refused) -> None:
        if not isinstance(settled, Refused):
            sys.stdout.write(f"{number}\n")
            sys.stdout.flush()

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(viewing.run())
        while line := await reader.readline():
            number, chat, account, lo, hi = json.loads(line)
            request = Views(views=(View(chat=str(chat), lo=lo, hi=hi),))
            caller = Caller(AccountId(account), DeviceId(1), "")
            viewing.view(request, caller).then(lambda done, n=number: answer(n, done))


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
