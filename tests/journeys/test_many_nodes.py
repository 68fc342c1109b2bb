"""Two nodes on one PostgreSQL and one Redis: it does not matter which of them one asks."""

from collections.abc import AsyncIterator

import pytest

from messenger.client.errors import RpcError
from messenger.settings import Settings
from messenger.wire.codes import CloseCode, ErrorCode
from tests.support.line import joined
from tests.support.line import opened as line_to
from tests.support.platform import Platform, a_phone, code_of, running

DEVICE = {"name": "test", "platform": "test", "app": "1"}


@pytest.fixture
async def nodes(settings: Settings) -> AsyncIterator[tuple[Platform, Platform]]:
    async with running(settings) as one, running(settings) as other:
        yield one, other


async def test_given_a_code_from_one_node_when_signing_in_at_another_then_it_is_good_at_both(
    nodes: tuple[Platform, Platform],
) -> None:
    one, other = nodes
    phone = a_phone()
    asked = await one.post("accounts.request_code", {"phone": phone})
    proof = {"ticket": asked["ticket"], "code": code_of(one.home, phone), "device": DEVICE}
    signed_in = await other.post("accounts.sign_in", {**proof, "name": "Mina"})

    for node in nodes:
        me = await node.post("accounts.me", {}, signed_in["token"])
        assert me["id"] == signed_in["account"]
    renewed = await one.post("accounts.token", {"refresh": signed_in["refresh"]})
    async with joined(other.ws_url, renewed["token"]):
        pass


async def test_given_guesses_at_two_nodes_when_they_are_too_many_then_both_refuse(
    nodes: tuple[Platform, Platform],
) -> None:
    one = nodes[0]
    phone = a_phone()
    asked = await one.post("accounts.request_code", {"phone": phone})
    good = code_of(one.home, phone)
    wrong = str((int(good) + 1) % 10 ** len(good)).zfill(len(good))
    codes = []
    for number in range(6):
        guess = {"ticket": asked["ticket"], "code": wrong, "device": DEVICE, "name": "x"}
        with pytest.raises(RpcError) as refused:
            await nodes[number % 2].post("accounts.sign_in", guess)
        codes.append(refused.value.code)

    assert codes[:4] == [ErrorCode.CODE_WRONG] * 4
    assert codes[5] != ErrorCode.CODE_WRONG
    for node in nodes:  # and the right one is of no use any more
        with pytest.raises(RpcError):
            await node.post("accounts.sign_in", {**guess, "code": good})


async def test_given_codes_asked_at_two_nodes_when_they_are_too_many_then_the_phone_is_limited(
    nodes: tuple[Platform, Platform],
) -> None:
    phone = {"phone": a_phone()}
    codes = []
    for number in range(5):
        try:
            await nodes[number % 2].post("accounts.request_code", phone)
        except RpcError as refused:
            codes.append(refused.code)
    assert codes
    assert set(codes) == {ErrorCode.RATE_LIMITED}


async def test_given_a_device_when_it_moves_to_another_node_then_it_recovers_and_the_old_one_ends(
    nodes: tuple[Platform, Platform],
) -> None:
    one, other = nodes
    mina, reza = await one.signs_up("Mina"), await other.signs_up("Reza")
    opened = await one.post("chats.open_direct", {"account": reza.account}, mina.token)
    message = {"chat": opened["chat"]["id"], "text": "salaam"}
    topic = f"user:{mina.account}"
    async with line_to(one.ws_url) as line:
        session = (await line.says(connect={"token": mina.token}))["connect"]
        async with joined(other.ws_url, mina.token):
            assert (await line.close_code())[0] == CloseCode.REPLACED
    await one.post("messages.send", {**message, "random_id": "1"}, reza.token)

    position = {name: session["subs"][topic].get(name, 0) for name in ("epoch", "offset")}
    async with line_to(other.ws_url) as line:
        again = {"token": mina.token, "subs": {topic: {"recover": True, **position}}}
        recovered = (await line.says(connect=again))["connect"]["subs"][topic]
        # In the reply, or right behind it where the sender's node was still telling.
        told = recovered.get("publications") or [(await line.hears())[0]["pub"]]
    assert recovered["recovered"] is True
    assert "message.new" in [one["data"]["t"] for one in told]
