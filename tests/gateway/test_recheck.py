"""Orders that a lost bus link took are redone when it is back."""

import time

from messenger.bus.keys import revoked_key
from messenger.db.engine import Database
from messenger.settings import Settings
from tests.support.platform import Platform, connected, running


async def test_given_a_revocation_nobody_heard_when_the_bus_is_back_then_the_socket_closes(
    platform: Platform,
) -> None:
    mina = await platform.signs_up("mina")
    client = await connected(platform, mina, reconnect=False)
    gateway = platform.node.gateway
    until = int(time.time()) + 60
    await gateway._recheck._bus.ask("HSET", revoked_key(int(mina.account)), mina.device, until)

    gateway.bus_is_back()
    ended = await client.wait_closed(5.0)

    assert ended.code == 4501
    await client.close()


async def test_given_a_removal_nobody_heard_when_the_bus_is_back_then_the_chat_closes(
    settings: Settings,
) -> None:
    async with running(settings, small_chat=2) as platform:
        mina = await platform.signs_up("mina")
        others = [(await platform.signs_up(name)).account for name in ("a", "b")]
        client = await connected(platform, mina)
        created = await client.rpc(
            "chats.create",
            {"kind": "group", "title": "big", "members": others, "random_id": "1"},
        )
        chat = str(created["chat"]["id"])
        await client.subscribe(f"chat:{chat}")
        database = await Database.connect(settings.database_url or "", 1)
        async with database.statement() as connection:
            await connection.exec_driver_sql(
                "update membership set role = 0 where chat_id = $1 and account_id = $2",
                (int(chat), int(mina.account)),
            )
        await database.close()

        platform.node.gateway.bus_is_back()
        await client.wait_until(lambda: f"chat:{chat}" in str(client.recent[-1]))

        ended = client.recent[-1]
        assert "2000" in str(ended)
        await client.close()
