"""From a phone number to a signed-in device.

Neither an answer nor its timing tells whether a phone is known: asking for a code never looks,
and only who typed the right code learns whether there was an account.
"""

import hmac
from collections.abc import Callable, Sequence

from msgspec import Struct

from messenger.accounts.codes import CodeMessage, CodeSender
from messenger.accounts.devices import Devices
from messenger.accounts.names import clean_name
from messenger.accounts.phones import PhoneVault, network_of, normalise
from messenger.accounts.protocol import (
    CodeRequested,
    Delete,
    Nothing,
    RequestCode,
    SignedIn,
    SignIn,
)
from messenger.accounts.signup import OWNER_TRIES, SigningUp
from messenger.accounts.store.devices import CodeStore
from messenger.accounts.store.people import PeopleStore
from messenger.accounts.tickets import Ticket, Tickets
from messenger.feature import Caller, NameGuard, Refused
from messenger.limits import Limits
from messenger.settings import Settings
from messenger.wire.codes import ErrorCode

SAME_MS_TRIES = 10  # codes of one phone within one millisecond


class Proof(Struct, frozen=True):
    """A right code, not yet used up."""

    ticket: Ticket
    phone_hash: bytes


class SigningIn:
    """Sends codes, checks them, and gives out accounts and devices for them."""

    def __init__(
        self,
        people: PeopleStore,
        codes: CodeStore,
        signing_up: SigningUp,
        devices: Devices,
        vault: PhoneVault,
        tickets: Tickets,
        sender: CodeSender,
        limits: Limits,
        guards: Sequence[NameGuard],
        settings: Settings,
        now_ms: Callable[[], int],
    ) -> None:
        self._people = people
        self._codes = codes
        self._signing_up = signing_up
        self._devices = devices
        self._vault = vault
        self._tickets = tickets
        self._sender = sender
        self._limits = limits
        self._guards = guards
        self._settings = settings
        self._now_ms = now_ms

    async def request_code(self, request: RequestCode, caller: Caller) -> CodeRequested:
        phone = normalise(request.phone)
        if phone is None:
            raise Refused(ErrorCode.PHONE_INVALID)
        phone_hash = self._vault.look_up(phone)
        await self._limits.check("otp.net", caller)  # first: it shields the phone's own budget
        await self._limits.check("otp.phone", phone_hash.hex())
        code = self._tickets.new_code()
        ticket = await self._put_code(phone, phone_hash, code, network_of(caller.address))
        message = CodeMessage(phone=phone, code=code, lang=request.lang, at=ticket.issued_at)
        await self._sender.send(message)
        return CodeRequested(
            ticket=self._tickets.seal(ticket),
            length=self._settings.otp_digits,
            expires_in_s=int(self._settings.otp_ttl),
            resend_in_s=int(self._settings.otp_resend),
        )

    async def sign_in(self, request: SignIn, caller: Caller) -> SignedIn:
        """A new device for the phone's account, which is made here where there is none."""
        name = None if request.name is None else clean_name("name", request.name)
        proof = await self._prove(request.ticket, request.code)
        owner = await self._signing_up.known(proof.phone_hash)
        if owner is None:
            if name is None:
                raise Refused(ErrorCode.NAME_REQUIRED)
            for guard in self._guards:
                await guard.check(owner=0, name=name, username=None)
        await self._use(proof)
        for _ in range(OWNER_TRIES):
            account, new = owner, False
            if account is None:
                account, new = await self._signing_up.account_of(proof.ticket.phone, name)
            issued = await self._devices.add(account, request.device)
            if issued is not None:
                return SignedIn(
                    account=str(account),
                    device_id=str(issued.device),
                    token=issued.token,
                    ttl_s=self._devices.ttl_s,
                    refresh=issued.refresh,
                    new=new,
                )
            owner = None  # forgotten for good since we looked
        raise Refused(ErrorCode.CONFLICT, {"what": "account"})

    async def delete(self, request: Delete, caller: Caller) -> Nothing:
        """Needs a fresh code for the account's own phone; signing in within 30 days undoes it."""
        people = await self._people.people([caller.account])
        ticket = self._opened(request.ticket)
        own = people[caller.account].phone_hash if caller.account in people else None
        if own is None or not hmac.compare_digest(own, self._vault.look_up(ticket.phone)):
            raise Refused(ErrorCode.INVALID, {"field": "ticket", "why": "another phone"})
        await self._use(await self._prove(request.ticket, request.code))
        await self._devices.close_account(caller.account)
        return Nothing()

    async def _put_code(self, phone: str, phone_hash: bytes, code: str, network: str) -> Ticket:
        at = self._now_ms()
        for later in range(SAME_MS_TRIES):
            ticket = Ticket(phone, at + later)
            code_hash = self._tickets.code_hash(ticket, code)
            if await self._codes.put(phone_hash, ticket.issued_at, code_hash, network):
                return ticket
        raise Refused(ErrorCode.OVERLOADED, {"retry_after_ms": 1_000})

    def _opened(self, text: str) -> Ticket:
        """A ticket of ours whose time is not over; anything else has expired, whatever it is."""
        ticket = self._tickets.open(text)
        life_ms = int(self._settings.otp_ttl * 1_000)
        if ticket is None or self._now_ms() > ticket.issued_at + life_ms:
            raise Refused(ErrorCode.CODE_EXPIRED)
        return ticket

    async def _prove(self, text: str, code: str) -> Proof:
        """Count the guess, then compare. A right code stays good until `_use`."""
        ticket = self._opened(text)
        phone_hash = self._vault.look_up(ticket.phone)
        await self._limits.check("otp.try", f"{phone_hash.hex()}.{ticket.issued_at}")
        most = self._settings.otp_tries
        tried = await self._codes.count_try(phone_hash, ticket.issued_at, most)
        if tried is None:
            raise Refused(ErrorCode.CODE_EXPIRED)
        if not hmac.compare_digest(tried.code_hash, self._tickets.code_hash(ticket, code)):
            raise Refused(ErrorCode.CODE_WRONG, {"left": most - tried.tries})
        return Proof(ticket, phone_hash)

    async def _use(self, proof: Proof) -> None:
        if not await self._codes.use(proof.phone_hash, proof.ticket.issued_at, self._now_ms()):
            raise Refused(ErrorCode.CODE_EXPIRED)
