"""Tickets open only what was sealed here, and codes are kept as hashes."""

import pytest

from messenger.accounts.tickets import Ticket, Tickets, ascii_digits

PEPPER = "a pepper of at least thirty-two bytes"
TICKET = Ticket("+989121234567", 1_795_305_600_123)


def test_given_a_sealed_ticket_when_opened_then_it_is_what_it_was() -> None:
    tickets = Tickets(PEPPER, 5)

    text = tickets.seal(TICKET)

    assert tickets.open(text) == TICKET
    assert TICKET.phone[1:] not in text
    assert text != tickets.seal(TICKET)
    assert len(text) <= 256


@pytest.mark.parametrize(
    "text", ["", "t1", "=", "AAAA", "A" * 80, "é", "////", "a b", "-" * 255, "\x00"]
)
def test_given_a_text_that_was_not_sealed_here_when_opened_then_there_is_no_ticket(
    text: str,
) -> None:
    assert Tickets(PEPPER, 5).open(text) is None


def test_given_a_changed_or_foreign_ticket_when_opened_then_there_is_no_ticket() -> None:
    tickets = Tickets(PEPPER, 5)
    text = tickets.seal(TICKET)
    changed = text[:20] + ("A" if text[20] != "A" else "B") + text[21:]

    assert tickets.open(changed) is None
    assert tickets.open(Tickets(PEPPER + "!", 5).seal(TICKET)) is None


@pytest.mark.parametrize("digits", [4, 5, 10])
def test_given_a_length_when_codes_are_made_then_all_have_it(digits: int) -> None:
    tickets = Tickets(PEPPER, digits)

    codes = {tickets.new_code() for _ in range(200)}

    assert all(len(code) == digits and code.isdecimal() for code in codes)
    assert len(codes) > 150


def test_given_one_code_on_two_tickets_when_hashed_then_the_hashes_differ() -> None:
    tickets = Tickets(PEPPER, 5)
    other = Ticket(TICKET.phone, TICKET.issued_at + 1)

    assert tickets.code_hash(TICKET, "12345") != tickets.code_hash(other, "12345")
    assert tickets.code_hash(TICKET, "12345") != tickets.code_hash(TICKET, "12346")


def test_given_a_code_typed_on_a_persian_keyboard_when_hashed_then_it_is_the_same_code() -> None:
    tickets = Tickets(PEPPER, 5)

    assert tickets.code_hash(TICKET, " ۱۲۳۴۵ ") == tickets.code_hash(TICKET, "12345")
    assert ascii_digits("٠١٢") == "012"
    assert ascii_digits("½x") == "½x"
