"""Refresh tokens follow one another, and only ours are ever recognised."""

import pytest

from messenger.accounts.refreshing import RefreshTokens
from messenger.ids import AccountId, DeviceId

PEPPER = "a pepper of at least thirty-two bytes"
MINA, PHONE = AccountId(2**63 - 1), DeviceId(904)


def test_given_a_token_when_read_then_it_names_its_device() -> None:
    tokens = RefreshTokens(PEPPER)
    token = tokens.first(MINA, PHONE)

    read = tokens.read(token.text)

    assert read == token
    assert (token.account, token.device) == (MINA, PHONE)
    assert len(token.digest) == 32
    assert len(token.text) <= 256


def test_given_two_devices_when_they_sign_in_then_nothing_of_their_tokens_is_equal() -> None:
    tokens = RefreshTokens(PEPPER)

    one, other = tokens.first(MINA, PHONE), tokens.first(MINA, PHONE)

    assert one.secret != other.secret
    assert one.digest != other.digest


def test_given_one_token_shown_twice_when_followed_then_both_get_the_same_next_one() -> None:
    tokens = RefreshTokens(PEPPER)
    first = tokens.first(MINA, PHONE)

    following = tokens.following(first)

    assert following == tokens.following(first)
    assert following.text != first.text
    assert tokens.following(following).text not in (first.text, following.text)
    assert tokens.read(following.text) == following


def test_given_another_pepper_when_a_token_is_read_then_it_means_nothing() -> None:
    token = RefreshTokens(PEPPER + "!").first(MINA, PHONE)

    assert RefreshTokens(PEPPER).read(token.text) is None


def test_given_any_changed_character_when_read_then_it_means_nothing() -> None:
    tokens = RefreshTokens(PEPPER)
    text = tokens.first(MINA, PHONE).text

    for n in range(len(text) - 1):  # the last one holds unused bits
        changed = text[:n] + ("A" if text[n] != "A" else "B") + text[n + 1 :]
        assert tokens.read(changed) is None


@pytest.mark.parametrize("text", ["", "x", "A" * 86, "A" * 85, "é" * 86, "a b", "A" * 256])
def test_given_made_up_text_when_read_then_it_means_nothing(text: str) -> None:
    assert RefreshTokens(PEPPER).read(text) is None
