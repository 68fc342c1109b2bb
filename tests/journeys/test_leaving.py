"""An account is deleted: what it had planned does not happen."""

import time

from messenger.db.engine import Database
from tests.conftest import Stores
from tests.support.platform import Platform, a_phone, code_of


async def test_given_a_scheduled_message_when_its_account_is_deleted_then_it_is_dropped(
    platform: Platform, stores: Stores
) -> None:
    phone = a_phone()
    mina, reza = await platform.signs_up("مینا", phone), await platform.signs_up("رضا")
    opened = await platform.post("chats.open_direct", {"account": reza.account}, mina.token)
    planned = {
        "chat": opened["chat"]["id"],
        "random_id": "7",
        "text": "later",
        "schedule_at": int(time.time() * 1000) + 3_600_000,
    }
    assert "scheduled_id" in await platform.post("messages.send", planned, mina.token)
    asked = await platform.post("accounts.request_code", {"phone": phone})
    proof = {"ticket": asked["ticket"], "code": code_of(platform.home, phone)}

    await platform.post("accounts.delete", proof, mina.token)

    database = await Database.connect(stores.database_url, pool=1)
    async with database.statement() as connection:
        sql = "select count(*) from scheduled where sender_id = $1"
        left = (await connection.exec_driver_sql(sql, (int(mina.account),))).scalar_one()
    await database.close()
    assert left == 0
