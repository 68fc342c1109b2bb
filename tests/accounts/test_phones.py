"""Numbers as people type them, and what may be stored of them."""

import pytest
from cryptography.exceptions import InvalidTag

from messenger.accounts.phones import PhoneVault, network_of, normalise, normalise_many

PEPPER = "a pepper of at least thirty-two bytes"


@pytest.mark.parametrize(
    ("typed", "canonical"),
    [
        ("+989121234567", "+989121234567"),
        ("+98 912 123 4567", "+989121234567"),
        ("0098 912 123 4567", "+989121234567"),
        ("09121234567", "+989121234567"),
        ("۰۹۱۲۱۲۳۴۵۶۷", "+989121234567"),
        ("٠٩١٢١٢٣٤٥٦٧", "+989121234567"),
        ("+98 (0) 912-123-4567", "+989121234567"),
        ("+12025550123", "+12025550123"),
        ("+4915123456789", "+4915123456789"),
        ("+966512345678", "+966512345678"),
        ("+93701234567", "+93701234567"),
    ],
)
def test_given_a_number_as_people_type_it_when_normalised_then_it_is_e164(
    typed: str, canonical: str
) -> None:
    assert normalise(typed) == canonical


@pytest.mark.parametrize(
    "typed",
    [
        "",
        "+",
        "0",
        "salaam",
        "+98",
        "+9891212345",
        "+98912123456789",
        "+999123456789",
        "+989121234567 ext. 5",
        "١٢",
        "\x00",
        "+" + "9" * 31,
    ],
)
def test_given_what_nobody_can_be_called_by_when_normalised_then_there_is_no_number(
    typed: str,
) -> None:
    assert normalise(typed) is None


def test_given_an_address_book_when_normalised_then_e164_passes_and_junk_is_none() -> None:
    book = ["+989121234567", "09121234567", "*100#", "+12345678"]

    assert normalise_many(book) == ["+989121234567", "+989121234567", None, "+12345678"]


def test_given_one_number_twice_when_looked_up_then_the_key_is_the_same_sixteen_bytes() -> None:
    vault = PhoneVault(PEPPER)

    first, again = vault.look_up("+989121234567"), PhoneVault(PEPPER).look_up("+989121234567")

    assert first == again
    assert len(first) == 16
    assert first != vault.look_up("+989121234568")
    assert first != PhoneVault(PEPPER + "!").look_up("+989121234567")


def test_given_a_sealed_number_when_unsealed_then_only_the_same_pepper_reads_it() -> None:
    vault = PhoneVault(PEPPER)

    sealed = vault.seal("+989121234567")

    assert vault.unseal(sealed) == "+989121234567"
    assert sealed != vault.seal("+989121234567")
    assert b"989121234567" not in sealed
    with pytest.raises(InvalidTag):
        PhoneVault(PEPPER + "!").unseal(sealed)


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2::9", "2001:db8:1::/48"),
        ("127.0.0.1", "127.0.0.0/24"),
        ("", "unknown"),
        ("a path", "unknown"),
    ],
)
def test_given_an_address_when_its_network_is_asked_then_neighbours_share_it(
    address: str, network: str
) -> None:
    assert network_of(address) == network
