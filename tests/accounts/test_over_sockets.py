"""The same over a real node: what a person's other devices and watchers really get."""

import asyncio
import json
import time
from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest

from messenger.accounts.issuing import issue_token
from messenger.client.errors import RpcError
from messenger.db.engine import Database
from messenger.settings import Settings
from messenger.tokens import ConnectionTokens
from messenger.wire.codes import CloseCode, ErrorCode
from tests.support.line import Line, joined, opened
from tests.support.platform import Platform, SignedIn, code_of

Json = dict[str, Any]
LABEL = {"name": "Laptop", "platform": "web", "app": "1"}


async def another_device(platform: Platform, person: SignedIn) -> SignedIn:
    ticket, code = await a_code(platform, person.phone)
    result = await platform.post(
        "accounts.sign_in", {"ticket": ticket, "code": code, "device": LABEL}
    )
    return SignedIn(
        result["account"], result["device_id"], result["token"], result["refresh"], person.phone
    )


async def a_code(platform: Platform, phone: str) -> tuple[str, str]:
    ticket = (await platform.post("accounts.request_code", {"phone": phone}))["ticket"]
    return ticket, code_of(platform.settings.home, phone)


def line(platform: Platform, person: SignedIn) -> AbstractAsyncContextManager[Line]:
    return joined(platform.ws_url, person.token)


async def rpc(line: Line, method: str, **data: Any) -> Any:
    reply = await line.says(rpc={"method": method, "data": data})
    assert "rpc" in reply, reply
    return reply["rpc"]["data"]


async def update(line: Line, kind: str) -> Json:
    """The next update of this kind; others are let go."""
    while True:
        [push] = await line.hears()
        data: Json = push["pub"]["data"]
        if data["t"] == kind:
            return data


async def test_given_two_devices_when_one_revokes_the_other_then_its_socket_closes_within_a_second(
    platform: Platform,
) -> None:
    mina = await platform.signs_up("مینا")
    laptop = await another_device(platform, mina)
    async with line(platform, mina) as phone, line(platform, laptop) as other:
        began = time.monotonic()
        await rpc(other, "accounts.revoke_session", device_id=mina.device)

        code, reason = await phone.close_code()

        assert time.monotonic() - began < 1
        assert (code, reason) == (4501, "device revoked")
        assert (await update(other, "session.revoked"))["device_id"] == mina.device


async def test_given_a_revoked_device_when_it_comes_back_then_socket_http_and_refresh_refuse_it(
    platform: Platform,
) -> None:
    mina = await platform.signs_up("مینا")
    laptop = await another_device(platform, mina)
    await platform.post("accounts.revoke_session", {"device_id": mina.device}, laptop.token)

    async with opened(platform.ws_url) as line:
        await line.socket.send(json.dumps({"id": 1, "connect": {"token": mina.token}}))
        code, _ = await line.close_code()
    with pytest.raises(RpcError) as by_http:
        await platform.post("accounts.me", {}, mina.token)
    with pytest.raises(RpcError) as by_refresh:
        await platform.post("accounts.token", {"refresh": mina.refresh})

    assert code == CloseCode.DEVICE_REVOKED
    assert by_http.value.code == ErrorCode.UNAUTHORIZED
    assert by_refresh.value.code == ErrorCode.REFRESH_INVALID


async def test_given_an_account_when_deleted_then_its_sockets_close_for_good(
    platform: Platform,
) -> None:
    mina = await platform.signs_up("مینا")
    ticket, code = await a_code(platform, mina.phone)
    async with line(platform, mina) as phone:
        request = {"method": "accounts.delete", "data": {"ticket": ticket, "code": code}}
        await phone.socket.send(json.dumps({"id": 7, "rpc": request}))

        closed = await phone.close_code()

    assert closed == (4502, "account deleted")


async def test_given_a_device_when_another_signs_in_then_it_is_told(platform: Platform) -> None:
    mina = await platform.signs_up("مینا")
    async with line(platform, mina) as phone:
        laptop = await another_device(platform, mina)

        told = await update(phone, "session.new")

    assert (told["device_id"], told["name"], told["platform"]) == (laptop.device, "Laptop", "web")


async def test_given_a_watcher_when_a_friend_connects_and_leaves_then_both_are_heard(
    platform: Platform,
) -> None:
    mina, reza = await platform.signs_up("مینا"), await platform.signs_up("رضا")
    async with line(platform, mina) as watcher:
        await rpc(watcher, "accounts.watch", ids=[reza.account])
        async with line(platform, reza):
            came = await update(watcher, "presence")
            seen = await rpc(watcher, "accounts.presence", ids=[reza.account])
        went = await update(watcher, "presence")

    assert came["p"] == [[reza.account, "online"]]
    assert seen == {"presence": [[reza.account, "online"]]}
    assert went["p"] == [[reza.account, "recently"]]


async def test_given_a_session_when_it_lists_devices_then_the_connected_ones_are_online(
    platform: Platform,
) -> None:
    mina = await platform.signs_up("مینا")
    laptop = await another_device(platform, mina)
    async with line(platform, laptop) as other:
        sessions = (await rpc(other, "accounts.sessions"))["sessions"]

    online = {session["device_id"]: session["online"] for session in sessions}
    assert online == {mina.device: False, laptop.device: True}


async def test_given_a_device_when_it_signs_out_then_the_answer_comes_before_the_close(
    platform: Platform,
) -> None:
    mina = await platform.signs_up("مینا")
    async with line(platform, mina) as phone:
        assert await rpc(phone, "accounts.sign_out") == {}
        assert await phone.close_code() == (4501, "device revoked")


async def test_given_many_people_when_they_sign_up_at_once_then_each_has_an_account(
    platform: Platform,
) -> None:
    people = await asyncio.gather(*(platform.signs_up(f"نفر {n}") for n in range(20)))

    assert len({person.account for person in people}) == 20


async def test_given_a_lone_device_when_another_is_made_by_command_then_it_hears_the_sends(
    platform: Platform, settings: Settings
) -> None:
    mina, reza = await platform.signs_up("مینا"), await platform.signs_up("رضا")
    chat = (await platform.post("chats.open_direct", {"account": reza.account}, mina.token))["chat"]
    address = {"chat": chat["id"] if isinstance(chat, dict) else chat}
    async with line(platform, mina) as phone:
        for number in range(1, 4):  # the node learns that she is alone
            await rpc(phone, "messages.send", **address, random_id=str(number), text="یک")
        made = await _by_command(settings, mina)

        async with joined(platform.ws_url, made) as laptop:
            await rpc(phone, "messages.send", **address, random_id="9", text="دو")

            async with asyncio.timeout(5):
                assert (await update(laptop, "message.new"))["m"]["text"] == "دو"


async def _by_command(settings: Settings, person: SignedIn) -> str:
    """The access token of a new device, as `peyk token` makes it: without a bus."""
    database = await Database.connect(settings.database_url or "", 2, 5.0)
    try:
        tokens = ConnectionTokens(settings.client.token.keys)
        made = await issue_token(database, settings, tokens, person.phone, None)
    finally:
        await database.close()
    return made.access_token
