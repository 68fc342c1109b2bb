"""Tokens: what is accepted, what is invalid, what is only too old."""

import base64
import json
from typing import Any

import jwt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from messenger.tokens import (
    ConnectionClaims,
    ConnectionTokens,
    SubscriptionClaims,
    SubscriptionTokens,
    TokenExpired,
    TokenInvalid,
    key_id,
)

OLD, NEW = "old-key-" + "x" * 32, "new-key-" + "y" * 32
NOW = 1_800_000_000.0


def tokens(*keys: str, now: float = NOW, **options: str) -> ConnectionTokens:
    return ConnectionTokens(keys or (NEW,), now=lambda: now, **options)


def foreign(key: str = NEW, headers: dict[str, Any] | None = None, **claims: Any) -> str:
    """As another program would sign it, without `kid`."""
    return jwt.encode(claims, key, algorithm="HS256", headers=headers)


def test_given_a_product_token_when_verified_then_account_and_device_come_back() -> None:
    token = tokens().sign("71", 60, device=904)

    assert tokens().verify(token) == ConnectionClaims("71", 904, expires_at=NOW + 60)
    assert jwt.get_unverified_header(token) == {"alg": "HS256", "typ": "JWT", "kid": key_id(NEW)}


def test_given_all_claims_when_verified_then_each_is_read() -> None:
    token = foreign(
        sub="u",
        exp=NOW + 9,
        channels=["a", "b"],
        subs={"b": {}, "c": {"info": {}}},
        info={"name": "م\n", "n": [1, 2]},
        meta={"k": 1},
        jti="ignored",
    )
    claims = tokens().verify(token)

    assert claims.topics == ("a", "b", "c")
    assert json.loads(bytes(claims.info)) == {"name": "م\n", "n": [1, 2]}
    assert b" " not in bytes(claims.info)
    assert claims.meta == b'{"k":1}'
    assert claims.device is None


@pytest.mark.parametrize(
    ("claims", "expires_at"),
    [
        ({}, 0),
        ({"exp": NOW + 9}, NOW + 9),
        ({"exp": NOW + 9, "expire_at": 0}, 0),
        ({"exp": NOW + 9, "expire_at": NOW + 99}, NOW + 99),
    ],
)
def test_given_exp_and_expire_at_when_verified_then_expire_at_ends_the_connection(
    claims: dict[str, float], expires_at: float
) -> None:
    assert tokens().verify(foreign(sub="u", **claims)).expires_at == expires_at


def test_given_a_token_whose_time_is_over_when_verified_then_it_is_expired_not_invalid() -> None:
    token = tokens().sign("71", 60)
    assert tokens(now=NOW + 59).verify(token).user == "71"
    with pytest.raises(TokenExpired):
        tokens(now=NOW + 60).verify(token)
    with pytest.raises(TokenInvalid):
        tokens(OLD, now=NOW + 60).verify(token)


def test_given_rotated_keys_when_verified_then_old_tokens_are_good_and_new_ones_use_the_first() -> (
    None
):
    both = tokens(NEW, OLD)
    assert both.verify(tokens(OLD).sign("1", 60)).user == "1"
    assert both.verify(foreign(OLD, sub="2")).user == "2"
    assert both.verify(foreign(OLD, {"kid": "unknown"}, sub="3")).user == "3"
    assert tokens(NEW).verify(both.sign("4", 60)).user == "4"
    with pytest.raises(TokenInvalid):
        tokens(OLD).verify(both.sign("4", 60))
    with pytest.raises(TokenInvalid):
        both.verify(foreign("third" * 9, sub="5"))


def test_given_audience_and_issuer_when_set_then_both_must_match() -> None:
    ours = tokens(audience="peyk", issuer="us")
    assert ours.verify(ours.sign("1", 60)).user == "1"
    assert ours.verify(foreign(sub="1", aud=["x", "peyk"], iss="us")).user == "1"
    for claims in ({"aud": "x", "iss": "us"}, {"aud": "peyk", "iss": "x"}, {}):
        with pytest.raises(TokenInvalid):
            ours.verify(foreign(sub="1", **claims))
    assert tokens().verify(foreign(sub="1", aud="anything", iss="anyone")).user == "1"


@pytest.mark.parametrize("claims", [{"sub": "u", "info": {"a": "م"}}, {"sub": "", "exp": NOW + 5}])
def test_given_a_token_made_here_when_another_program_reads_it_then_both_agree(
    claims: dict[str, Any],
) -> None:
    ours = tokens().sign(claims["sub"], 5 if "exp" in claims else None, info=claims.get("info"))
    timeless = {"verify_exp": False, "verify_iat": False}  # our clock is set by hand
    read = jwt.decode(ours, NEW, algorithms=["HS256"], options=timeless)
    assert {"sub": "", **read}.items() >= claims.items()
    theirs = foreign(headers={"kid": key_id(NEW)}, **read)
    one, other = tokens().verify(ours), tokens().verify(theirs)
    assert (one.user, one.expires_at) == (other.user, other.expires_at)
    assert json.loads(bytes(one.info) or b"{}") == json.loads(bytes(other.info) or b"{}")


@pytest.mark.parametrize("change", ["head", "payload", "signature", "cut", "swapped"])
def test_given_a_token_made_here_when_changed_then_it_is_invalid(change: str) -> None:
    head, payload, signature = tokens().sign("71", 60, device=904).split(".")
    other = tokens().sign("72", 60, device=904).split(".")
    changed = {
        "head": f"{head[:-2]}AA.{payload}.{signature}",
        "payload": f"{head}.{payload[:-3]}AAA.{signature}",
        "signature": f"{head}.{payload}.{signature[:-2]}AA",
        "cut": f"{head}.{payload}",
        "swapped": f"{head}.{payload}.{other[2]}",
    }[change]
    with pytest.raises(TokenInvalid):
        tokens().verify(changed)


def unsigned(header: dict[str, str], claims: dict[str, Any]) -> str:
    parts = [json.dumps(part).encode() for part in (header, claims)]
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a.b.c",
        "م.م.م",
        unsigned({"alg": "none"}, {"sub": "1"}),
        unsigned({"alg": "HS256"}, {"sub": "1"}),
        jwt.encode({"sub": "1"}, NEW * 2, algorithm="HS512"),
        foreign(sub="1") + "x",
        foreign(sub="1", did="0"),
        foreign(sub="1", did="9" * 19),
        foreign(sub="1", did="-4"),
        foreign(sub="1", did="٤"),
        foreign(sub="1", did=[1]),
        foreign(sub="1", exp="soon"),
        foreign(sub="1", channels="a"),
        foreign(sub="1", channels=[1]),
        foreign(sub="1", nbf=NOW + 5),
        foreign(sub="1", pad="x" * 20_000),
    ],
)
def test_given_a_token_that_is_not_ours_when_verified_then_it_is_invalid(token: str) -> None:
    with pytest.raises(TokenInvalid):
        tokens(NEW, OLD).verify(token)


def test_given_a_number_as_user_when_verified_then_it_is_invalid() -> None:
    payload = json.dumps({"sub": 1}).encode()
    token = jwt.PyJWS().encode(payload, NEW, algorithm="HS256")
    with pytest.raises(TokenInvalid):
        tokens().verify(token)


@given(st.binary(max_size=60), st.text(max_size=60))
@settings(max_examples=200, derandomize=True)
def test_given_any_payload_or_text_when_verified_then_it_is_claims_or_a_named_no(
    payload: bytes, text: str
) -> None:
    for token in (text, jwt.PyJWS().encode(payload, NEW, algorithm="HS256")):
        try:
            tokens().verify(token)
        except (TokenInvalid, TokenExpired):
            continue


def test_given_a_subscription_token_when_verified_then_user_and_topic_come_back() -> None:
    subscriptions = SubscriptionTokens((NEW,), now=lambda: NOW)
    token = subscriptions.sign("u", "room:1", 60, info={"a": 1})

    expected = SubscriptionClaims("u", "room:1", b'{"a":1}', NOW + 60)
    assert subscriptions.verify(token) == expected
    with pytest.raises(TokenInvalid):
        subscriptions.verify(tokens().sign("u", 60))
    assert subscriptions.verify(foreign(sub="u", channel="x", info=None)).info == b""


def test_given_a_short_key_of_a_developer_when_used_then_nothing_warns() -> None:
    assert tokens("change-me").verify(tokens("change-me").sign("1", 60)).user == "1"


def test_given_no_key_when_signing_then_it_is_a_bug_and_verifying_refuses() -> None:
    none = ConnectionTokens((), now=lambda: NOW)
    with pytest.raises(AssertionError):
        none.sign("1")
    with pytest.raises(TokenInvalid):
        none.verify(foreign(sub="1"))
