"""Who is alone with a device; doubt always means several."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

from messenger.delivery.soles import SoleDevices
from messenger.ids import AccountId, DeviceId

MINA, REZA = AccountId(1), AccountId(2)
PHONE, TABLET = DeviceId(10), DeviceId(11)

Doing = Callable[[SoleDevices, "Register"], Awaitable[None]]


class Register:
    """The device table; a look-up ends when the test says so."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[Sequence[AccountId]] = asyncio.Queue()
        self.answers: asyncio.Queue[Mapping[AccountId, DeviceId] | Exception] = asyncio.Queue()

    async def sole(self, accounts: Sequence[AccountId]) -> Mapping[AccountId, DeviceId]:
        self.asked.put_nowait(accounts)
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def answer(self, answer: Mapping[AccountId, DeviceId] | Exception) -> None:
        """Answer the look-up that waits, and let its result settle."""
        self.answers.put_nowait(answer)
        for _ in range(3):
            await asyncio.sleep(0)


async def during(doing: Doing, *, hears: bool = True) -> None:
    register = Register()
    soles = SoleDevices(register.sole)
    soles.hears = lambda _account: hears
    running = asyncio.ensure_future(soles.run())
    try:
        async with asyncio.timeout(5):
            await doing(soles, register)
    finally:
        running.cancel()


async def test_given_an_unknown_account_when_asked_then_it_counts_as_several_until_known() -> None:
    async def doing(soles: SoleDevices, register: Register) -> None:
        assert not soles.alone(MINA, PHONE)
        assert await register.asked.get() == [MINA]
        assert not soles.alone(MINA, PHONE)
        await register.answer({MINA: PHONE})

        assert soles.alone(MINA, PHONE)
        assert not soles.alone(MINA, TABLET)

    await during(doing)


async def test_given_several_devices_when_known_then_nobody_asks_again() -> None:
    async def doing(soles: SoleDevices, register: Register) -> None:
        assert not soles.alone(REZA, PHONE)
        assert await register.asked.get() == [REZA]
        await register.answer({})

        assert not soles.alone(REZA, PHONE)
        assert not soles.alone(MINA, PHONE)
        assert await register.asked.get() == [MINA]

    await during(doing)


async def test_given_a_look_up_when_a_device_is_added_meanwhile_then_it_is_not_believed() -> None:
    async def doing(soles: SoleDevices, register: Register) -> None:
        soles.alone(MINA, PHONE)
        soles.alone(REZA, PHONE)
        assert await register.asked.get() == [MINA, REZA]
        soles.forget(MINA)
        await register.answer({MINA: PHONE, REZA: PHONE})

        assert not soles.alone(MINA, PHONE)
        assert soles.alone(REZA, PHONE)

    await during(doing)


async def test_given_an_account_alone_when_another_device_is_met_then_it_is_unknown_again() -> None:
    async def doing(soles: SoleDevices, register: Register) -> None:
        soles.alone(MINA, PHONE)
        await register.asked.get()
        await register.answer({MINA: PHONE})
        soles.met(MINA, PHONE)
        assert soles.alone(MINA, PHONE)

        soles.met(MINA, TABLET)

        assert not soles.alone(MINA, PHONE)

    await during(doing)


async def test_given_a_look_up_that_fails_when_asked_again_then_it_is_looked_up_again() -> None:
    async def doing(soles: SoleDevices, register: Register) -> None:
        soles.alone(MINA, PHONE)
        await register.asked.get()
        await register.answer(OSError("away"))

        soles.alone(MINA, PHONE)

        assert await register.asked.get() == [MINA]

    await during(doing)


async def test_given_known_accounts_when_something_may_be_missed_then_all_are_unknown() -> None:
    async def doing(soles: SoleDevices, register: Register) -> None:
        soles.alone(MINA, PHONE)
        await register.asked.get()
        await register.answer({MINA: PHONE})
        assert soles.alone(MINA, PHONE)

        soles.forget_all()

        assert not soles.alone(MINA, PHONE)
        assert await register.asked.get() == [MINA]

    await during(doing)


async def test_given_an_account_that_is_not_heard_when_asked_then_it_is_not_looked_up() -> None:
    async def doing(soles: SoleDevices, register: Register) -> None:
        assert not soles.alone(MINA, PHONE)
        await asyncio.sleep(0)
        assert register.asked.empty()

    await during(doing, hears=False)
