"""How codes reach people, and tokens that need none."""

import asyncio
import stat
from pathlib import Path

import pytest

from messenger.accounts.codes import CodeMessage, ConsoleSender, FileSender, NoSender, sender_of
from messenger.accounts.issuing import issue_token
from messenger.feature import Refused
from messenger.settings import Settings
from messenger.tokens import ConnectionTokens
from messenger.wire.codes import ErrorCode
from tests.accounts.world import World, new_phone


async def test_given_an_operator_when_a_token_is_issued_then_the_account_is_made_once(
    world: World, settings: Settings
) -> None:
    phone = new_phone()
    tokens = ConnectionTokens(settings.token_keys)

    first = await issue_token(world.db, settings, tokens, phone, "مینا")
    again = await issue_token(world.db, settings, tokens, phone, None)

    assert first.account_id == again.account_id
    assert first.device_id != again.device_id
    assert tokens.verify(again.access_token).user == first.account_id
    answer = await world.call(None, "accounts.token", refresh=again.refresh_token)
    assert answer["refresh"] != again.refresh_token


@pytest.mark.parametrize(
    ("phone", "name", "code"),
    [
        ("12", "مینا", ErrorCode.PHONE_INVALID),
        ("+989909999999", None, ErrorCode.NAME_REQUIRED),
        ("+989909999999", "\u202e", ErrorCode.INVALID),
    ],
)
async def test_given_a_bad_command_when_a_token_is_issued_then_it_is_refused(
    world: World, settings: Settings, phone: str, name: str | None, code: ErrorCode
) -> None:
    with pytest.raises(Refused) as refusal:
        await issue_token(world.db, settings, ConnectionTokens(settings.token_keys), phone, name)

    assert refusal.value.code is code


async def test_given_the_file_sender_when_codes_are_sent_then_only_their_owner_reads_them(
    tmp_path: Path,
) -> None:
    sender = sender_of("file", tmp_path)
    message = CodeMessage(phone="+989121234567", code="00042", lang=None, at=1)

    await asyncio.gather(*(sender.send(message) for _ in range(20)))

    file = tmp_path / "codes.jsonl"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    line = '{"phone":"+989121234567","code":"00042","lang":null,"at":1}'
    assert file.read_text().splitlines() == [line] * 20


async def test_given_no_folder_when_a_code_is_sent_then_the_person_may_try_later(
    tmp_path: Path,
) -> None:
    message = CodeMessage(phone="+989121234567", code="00042", lang=None, at=1)

    with pytest.raises(Refused) as refusal:
        await FileSender(tmp_path / "nowhere").send(message)

    assert refusal.value.code is ErrorCode.OVERLOADED


async def test_given_the_console_sender_when_a_code_is_sent_then_it_stands_on_stdout(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    message = CodeMessage(phone="+989121234567", code="00042", lang=None, at=1)

    await sender_of("console", tmp_path).send(message)

    assert isinstance(sender_of("console", tmp_path), ConsoleSender)
    assert capsys.readouterr().out == "code 00042 for +989121234567\n"


async def test_given_no_sender_when_a_code_is_asked_for_then_the_feature_is_off(
    tmp_path: Path,
) -> None:
    message = CodeMessage(phone="+989121234567", code="00042", lang=None, at=1)

    with pytest.raises(Refused) as refusal:
        await sender_of("none", tmp_path).send(message)

    assert isinstance(sender_of("none", tmp_path), NoSender)
    assert refusal.value.code is ErrorCode.FEATURE_OFF
