"""Every rpc of the catalogue against what no client should send: a refusal, nothing stored."""

from typing import Any

import pytest

from messenger.feature import Caller, Refused
from messenger.ids import AccountId, DeviceId
from messenger.wire.codes import ErrorCode
from tests.accounts.world import Person, World, new_phone

LABEL = {"name": "Pixel", "platform": "android", "app": "1.0"}
LONG = "x" * 1_000
BAD = ErrorCode.BAD_REQUEST
INVALID = ErrorCode.INVALID

OPEN = ("accounts.request_code", "accounts.sign_in", "accounts.token")
FIELDS: list[tuple[str, dict[str, Any], ErrorCode]] = [
    ("accounts.request_code", {}, BAD),
    ("accounts.request_code", {"phone": None}, BAD),
    ("accounts.request_code", {"phone": 989121234567}, BAD),
    ("accounts.request_code", {"phone": LONG}, BAD),
    ("accounts.request_code", {"phone": "+989121234567", "lang": LONG}, BAD),
    ("accounts.request_code", {"phone": ""}, ErrorCode.PHONE_INVALID),
    ("accounts.request_code", {"phone": "+98912"}, ErrorCode.PHONE_INVALID),
    ("accounts.request_code", {"phone": "\x00"}, INVALID),
    ("accounts.request_code", {"phone": "abc"}, ErrorCode.PHONE_INVALID),
    ("accounts.sign_in", {}, BAD),
    ("accounts.sign_in", {"ticket": "t", "code": "1"}, BAD),
    ("accounts.sign_in", {"ticket": "t", "code": 12345, "device": LABEL}, BAD),
    ("accounts.sign_in", {"ticket": LONG, "code": "1", "device": LABEL}, BAD),
    ("accounts.sign_in", {"ticket": "t", "code": LONG, "device": LABEL}, BAD),
    ("accounts.sign_in", {"ticket": "t", "code": "1", "device": {}}, BAD),
    ("accounts.sign_in", {"ticket": "t", "code": "1", "device": LABEL | {"name": ""}}, BAD),
    ("accounts.sign_in", {"ticket": "t", "code": "1", "device": LABEL | {"app": LONG}}, BAD),
    ("accounts.sign_in", {"ticket": "t", "code": "1", "device": LABEL, "name": LONG}, BAD),
    ("accounts.sign_in", {"ticket": "t", "code": "1", "device": LABEL, "name": ""}, BAD),
    ("accounts.sign_in", {"ticket": "t", "code": "1", "device": LABEL, "name": " "}, INVALID),
    ("accounts.sign_in", {"ticket": "t", "code": "1", "device": LABEL}, ErrorCode.CODE_EXPIRED),
    ("accounts.token", {}, BAD),
    ("accounts.token", {"refresh": 7}, BAD),
    ("accounts.token", {"refresh": LONG}, BAD),
    ("accounts.token", {"refresh": ""}, ErrorCode.REFRESH_INVALID),
    ("accounts.token", {"refresh": "x" * 86}, ErrorCode.REFRESH_INVALID),
    ("accounts.get", {}, BAD),
    ("accounts.get", {"ids": "1"}, BAD),
    ("accounts.get", {"ids": [1]}, BAD),
    ("accounts.get", {"ids": ["0"]}, BAD),
    ("accounts.get", {"ids": ["-1"]}, BAD),
    ("accounts.get", {"ids": ["1.5"]}, BAD),
    ("accounts.get", {"ids": ["1"] * 101}, BAD),
    ("accounts.get", {"ids": ["9" * 19]}, INVALID),
    ("accounts.resolve", {}, BAD),
    ("accounts.resolve", {"username": LONG}, BAD),
    ("accounts.resolve", {"username": ""}, ErrorCode.NOT_FOUND),
    ("accounts.resolve", {"username": "nobody_at_all"}, ErrorCode.NOT_FOUND),
    ("accounts.resolve", {"username": "x'; drop table account"}, ErrorCode.NOT_FOUND),
    ("accounts.update", {"name": ""}, BAD),
    ("accounts.update", {"name": None}, BAD),
    ("accounts.update", {"name": "x" * 65}, BAD),
    ("accounts.update", {"name": "\u202e \u200b"}, INVALID),
    ("accounts.update", {"name": "a\x00"}, INVALID),
    ("accounts.update", {"about": "x" * 141}, BAD),
    ("accounts.update", {"about": "\x00"}, INVALID),
    ("accounts.update", {"username": "abc"}, ErrorCode.USERNAME_INVALID),
    ("accounts.update", {"username": "a" * 33}, ErrorCode.USERNAME_INVALID),
    ("accounts.update", {"username": LONG}, BAD),
    ("accounts.update", {"username": "support"}, ErrorCode.USERNAME_INVALID),
    ("accounts.update", {"photo": "x"}, BAD),
    ("accounts.update", {"photo": "5"}, ErrorCode.FEATURE_OFF),
    ("accounts.revoke_session", {}, BAD),
    ("accounts.revoke_session", {"device_id": "all"}, BAD),
    ("accounts.revoke_session", {"device_id": "0"}, BAD),
    ("accounts.revoke_session", {"device_id": "9" * 19}, ErrorCode.NOT_FOUND),
    ("accounts.revoke_session", {"device_id": "123"}, ErrorCode.NOT_FOUND),
    ("accounts.delete", {}, BAD),
    ("accounts.delete", {"ticket": "t", "code": "1"}, ErrorCode.CODE_EXPIRED),
    ("accounts.import_contacts", {}, BAD),
    ("accounts.import_contacts", {"phones": ["+1"] * 501}, BAD),
    ("accounts.import_contacts", {"phones": [LONG]}, BAD),
    ("accounts.import_contacts", {"phones": ["+989121234567"], "names": []}, INVALID),
    ("accounts.import_contacts", {"phones": ["+98912"], "names": ["\x00"]}, INVALID),
    ("accounts.contacts", {"after": 7}, BAD),
    ("accounts.contacts", {"after": "x"}, INVALID),
    ("accounts.remove_contact", {}, BAD),
    ("accounts.remove_contact", {"account": "9" * 19}, INVALID),
    ("accounts.block", {}, BAD),
    ("accounts.block", {"account": "5"}, BAD),
    ("accounts.block", {"account": "5", "on": 1}, BAD),
    ("accounts.block", {"account": "5", "on": True}, ErrorCode.NOT_FOUND),
    ("accounts.blocked", {"after": "-1"}, INVALID),
    ("accounts.privacy", {"set": {"last_seen": "friends"}}, BAD),
    ("accounts.privacy", {"set": {"call_waiting": "yes"}}, BAD),
    ("accounts.privacy", {"set": []}, BAD),
    ("accounts.presence", {}, BAD),
    ("accounts.presence", {"ids": ["1"] * 51}, BAD),
    ("accounts.presence", {"ids": ["9" * 19]}, INVALID),
    ("accounts.watch", {"ids": ["1"] * 51}, BAD),
    ("accounts.watch", {"ids": ["x"]}, BAD),
]
TABLES = ("account", "device", "contact", "block", "username", "account_event", "phone")
ROWS = " union all ".join(
    f"select '{table}', count(*) from {table}"  # noqa: S608 - constants of this module
    for table in TABLES
)


async def rows(world: World) -> dict[str, int]:
    async with world.db.statement() as connection:
        found: Any = (await connection.exec_driver_sql(ROWS)).fetchall()
    return dict(list(found))


@pytest.mark.parametrize(("method", "data", "code"), FIELDS)
async def test_given_bad_fields_when_an_rpc_is_called_then_it_is_refused_and_nothing_is_stored(
    world: World, mina: Person, method: str, data: dict[str, Any], code: ErrorCode
) -> None:
    before = await rows(world)

    refusal = await world.refusal(None if method in OPEN else mina, method, **data)

    assert refusal.code is code
    assert len(refusal.message.encode()) <= 512
    assert await rows(world) == before


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"null", b'"x"', b"7", b"\xff", b'{"ids":["\\ud800"]}', b"[" * 10_000],
)
async def test_given_data_that_is_no_object_when_an_rpc_is_called_then_it_is_a_bad_request(
    world: World, mina: Person, data: bytes
) -> None:
    with pytest.raises(Refused) as refusal:
        await world.call_raw(mina, "accounts.get", data)

    assert refusal.value.code is BAD


@pytest.mark.parametrize("name", ["\\ud800", "\\udfff", "x\\ud800y"])
async def test_given_half_a_surrogate_when_a_name_is_set_then_it_is_refused(
    world: World, mina: Person, name: str
) -> None:
    with pytest.raises(Refused) as refusal:
        await world.call_raw(mina, "accounts.update", b'{"name":"%b"}' % name.encode())

    assert refusal.value.code in (BAD, INVALID)


async def test_given_unknown_fields_when_an_rpc_is_called_then_they_are_ignored(
    world: World, mina: Person
) -> None:
    answer = await world.call(mina, "accounts.me", later={"x": 1}, more=[2])

    assert answer["id"] == mina.id


async def test_given_nobody_signed_in_when_an_own_method_is_called_then_it_is_unauthorized(
    world: World,
) -> None:
    for method in ("accounts.me", "accounts.update", "accounts.sessions", "accounts.delete"):
        refusal = await world.refusal(None, method)
        assert refusal.code is ErrorCode.UNAUTHORIZED


async def test_given_an_account_that_never_was_when_it_acts_then_nothing_is_found(
    world: World,
) -> None:
    ghost = Caller(AccountId(4_242), DeviceId(1), "10.9.9.9")

    for method, data in (
        ("accounts.me", {}),
        ("accounts.update", {"name": "روح"}),
        ("accounts.privacy", {"set": {"last_seen": "nobody"}}),
    ):
        refusal = await world.refusal(ghost, method, **data)
        assert (refusal.code, refusal.details) == (ErrorCode.NOT_FOUND, {"what": "account"})
    assert await world.call(ghost, "accounts.sessions") == {"sessions": []}


async def test_given_a_refused_phone_when_no_code_was_sent_then_none_is_kept(
    world: World,
) -> None:
    before = await world.count("otp", "true")

    for phone in ("+98912", "salaam", "+989121234567 ext. 5"):
        await world.refusal(None, "accounts.request_code", phone=phone)

    assert await world.count("otp", "true") == before


async def test_given_sign_in_over_a_socket_when_called_then_there_is_no_such_method(
    world: World,
) -> None:
    answers: list[Any] = []

    waits = world._rpcs.call(
        "accounts.request_code", b'{"phone":"%b"}' % new_phone().encode(), None, answers.append
    )

    assert waits is None
    assert answers[0].code is ErrorCode.METHOD_NOT_FOUND
