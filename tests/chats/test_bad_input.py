"""Every rpc with every field missing, of the wrong type, too long, negative, huge, unpaired."""

from typing import Any

import msgspec
import pytest

from messenger.feature import Refused
from messenger.wire.codes import ErrorCode
from tests.chats.world import Person, World, an_id

CATALOGUE = """
    list get open_direct create update members add_members remove_member set_role restrict transfer
    delete join leave link_create links link_revoke requests answer_request mute pin folder draft
    clear pin_message pins log report
    """.split()  # noqa: SIM905 - a list of words reads better as words

BAD: list[bytes] = [
    b"null",
    b"true",
    b"-1",
    b"0",
    b"1.5",
    b"9223372036854775808",
    b"1" + b"0" * 400,
    b'""',
    b'"0"',
    b'"-7"',
    b'"9223372036854775808"',
    b'"' + b"x" * 70_000 + b'"',
    rb'"\ud800"',
    rb'"a\u0000b"',
    b'"\xff"',
    b"[]",
    b"[null]",
    b'["\xd8"]',
    b"[" + b'"7",' * 5_000 + b'"7"]',
    b"{}",
    b"[" * 2_000 + b"]" * 2_000,
]


def good(chat: str, account: str, link: str) -> dict[str, dict[str, Any]]:
    both = {"chat": chat, "account": account}
    return {
        "list": {"limit": 5},
        "get": {"chats": [chat]},
        "open_direct": {"account": account},
        "create": {"kind": "group", "title": "t", "about": "a", "members": [account]},
        "update": {
            "chat": chat,
            "title": "t",
            "about": "a",
            "photo": None,
            "username": "",
            "slow_s": 0,
            "rights": [],
            "join": "link",
            "history_for_new": True,
        },
        "members": {"chat": chat, "limit": 5, "role": "member"},
        "add_members": {"chat": chat, "accounts": [account]},
        "remove_member": {**both, "ban": False, "until": 0},
        "set_role": {**both, "role": "member", "rights": []},
        "restrict": {**both, "deny": [], "until": 0},
        "transfer": both,
        "delete": {"chat": chat},
        "join": {"link": link},
        "leave": {"chat": chat},
        "link_create": {"chat": chat, "approval": False, "max_uses": 5, "expires_at": 2**52},
        "links": {"chat": chat},
        "link_revoke": {"link": link},
        "requests": {"chat": chat, "after": "0"},
        "answer_request": {**both, "accept": True},
        "mute": {"chat": chat, "until": 0},
        "pin": {"chat": chat, "rank": 1},
        "folder": {"chat": chat, "n": 1},
        "draft": {"chat": chat, "text": "t"},
        "clear": {"chat": chat, "up_to_seq": 0},
        "pin_message": {"chat": chat, "seq": 1, "on": True, "silent": False},
        "pins": {"chat": chat},
        "log": {"chat": chat, "before_ev": 9, "limit": 5},
        "report": {"chat": chat, "seq": 1, "reason": "spam", "text": "t"},
    }


def test_given_the_catalogue_then_every_method_is_offered(world: World) -> None:
    offered = {rpc.method for rpc in world.rpcs.methods if rpc.method.startswith("chats.")}

    assert offered == {f"chats.{name}" for name in CATALOGUE}


@pytest.mark.parametrize("method", CATALOGUE)
async def test_given_every_field_made_bad_then_each_answer_is_clear_and_none_is_a_bug(
    world: World, mina: Person, sara: Person, method: str
) -> None:
    mine, other = await mina.creates(), await mina.creates(sara)
    link = (await mina.call("link_create", chat=mine))["link"]
    fields = good(mine, sara.id, link)[method]
    if method == "create":
        fields["random_id"] = an_id()
    plain = {name: msgspec.json.encode(value) for name, value in fields.items()}
    codes = set()

    for name in fields:
        codes.add(await answer(world, mina, method, without(plain, name)))
        for value in BAD:
            codes.add(await answer(world, mina, method, {**plain, name: value}))

    assert ErrorCode.INTERNAL not in codes
    if fields:
        assert ErrorCode.BAD_REQUEST in codes
    assert await mina.sees(other) is not None


@pytest.mark.parametrize("data", [b"[]", b"7", b'"x"', b"{", b"\xff", b"{'a':1}", b"nul"])
async def test_given_data_that_is_no_object_then_it_is_a_bad_request(
    world: World, mina: Person, data: bytes
) -> None:
    for method in CATALOGUE:
        with pytest.raises(Refused) as refused:
            await world.call(mina.caller, f"chats.{method}", data)
        assert refused.value.code is ErrorCode.BAD_REQUEST, method


async def answer(
    world: World, person: Person, method: str, fields: dict[str, bytes]
) -> ErrorCode | None:
    data = b"{" + b",".join(b'"%b":%b' % (k.encode(), v) for k, v in fields.items()) + b"}"
    try:
        await world.call(person.caller, f"chats.{method}", data)
    except Refused as refused:
        return refused.code
    return None


def without(fields: dict[str, bytes], name: str) -> dict[str, bytes]:
    return {key: value for key, value in fields.items() if key != name}
