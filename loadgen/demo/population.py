"""Who takes part in a demo: people, their devices, and whom they talk to.

Pure: the same seed gives the same people, names and groups on every machine.
"""

import random

from msgspec import Struct

from loadgen.demo.words import FAMILY, GIVEN, GROUP_TITLES

SECOND_DEVICE = 0.4
PARTNERS = 2
"""Direct chats each person opens; a new account may open five on its first day (protocol B5)."""
PEOPLE_PER_GROUP = 6
GROUP_SIZES = (4, 5, 5, 6, 7, 8, 9, 12, 16, 24)
SQUARE = "میدان شهر"
SQUARE_SHARE = 0.6
"""Of all people: members of one chat that is big where `small_chat` is `SMALL_CHAT`."""
SMALL_CHAT = 40
PHONES = 10_000_000
SPREAD = 6_544_359  # coprime to PHONES: neighbours in the plan are strangers in the phone index


class Person(Struct, frozen=True):
    """One account to be."""

    index: int
    name: str
    phone: str
    devices: tuple[int, ...]
    """Indexes into the population's devices."""


class Place(Struct, frozen=True):
    """One chat to be; the first member opens or creates it."""

    index: int
    title: str
    """Empty for a direct chat."""
    members: tuple[int, ...]


class Population(Struct, frozen=True):
    """Everyone and every chat of a demo."""

    seed: int
    people: tuple[Person, ...]
    places: tuple[Place, ...]
    owners: tuple[int, ...]
    """Device index -> person index."""

    @property
    def square(self) -> Place | None:
        """The one large group; None where there are too few people for one."""
        return self.places[-1] if self.places[-1].title == SQUARE else None

    @property
    def directs(self) -> tuple[Place, ...]:
        return tuple(place for place in self.places if not place.title)

    @property
    def groups(self) -> tuple[Place, ...]:
        return tuple(place for place in self.places if place.title and place.title != SQUARE)


def populate(seed: int, people: int, salt: int = 0) -> Population:
    """`people` persons with one or two devices; `salt` moves the phone numbers, nothing else."""
    if not 2 <= people <= 2_000:
        raise ValueError(f"a demo has 2 to 2,000 people, not {people}")
    draw = random.Random(f"population/{seed}")
    owners: list[int] = []
    persons = []
    for index in range(people):
        count = 2 if draw.random() < SECOND_DEVICE else 1
        devices = tuple(range(len(owners), len(owners) + count))
        owners.extend([index] * count)
        name = f"{draw.choice(GIVEN)} {draw.choice(FAMILY)}"
        persons.append(Person(index, name, phone_of(index, seed, salt), devices))
    pairs = _pairs(draw, people)
    rooms = _rooms(draw, people)
    places = [Place(index, "", pair) for index, pair in enumerate(pairs)]
    places += [Place(len(pairs) + n, title, members) for n, (title, members) in enumerate(rooms)]
    crowd = draw.sample(range(people), round(people * SQUARE_SHARE))
    if len(crowd) > SMALL_CHAT:
        places.append(Place(len(places), SQUARE, tuple(crowd)))
    return Population(seed, tuple(persons), tuple(places), tuple(owners))


def phone_of(index: int, seed: int, salt: int) -> str:
    """A valid Iranian mobile number, unique for an index; never dialled, never a person's."""
    return f"+98912{(index * SPREAD + seed * 7_919 + salt) % PHONES:07d}"


def _pairs(draw: random.Random, people: int) -> list[tuple[int, ...]]:
    """Pairs without repeats; everybody opens at most `PARTNERS` of them."""
    seen: set[tuple[int, int]] = set()
    pairs: list[tuple[int, ...]] = []
    for opener in range(people):
        for _ in range(PARTNERS):
            other = draw.randrange(people)
            key = (min(opener, other), max(opener, other))
            if other == opener or key in seen:
                continue
            seen.add(key)
            pairs.append((opener, other))
    if not pairs:  # two people may both have drawn themselves
        pairs.append((0, 1))
    return pairs


def _rooms(draw: random.Random, people: int) -> list[tuple[str, tuple[int, ...]]]:
    """Groups with different creators (`chat.create` is limited per account)."""
    count = max(1, people // PEOPLE_PER_GROUP)
    creators = draw.sample(range(people), count)
    rooms = []
    for number, creator in enumerate(creators):
        size = min(people, draw.choice(GROUP_SIZES))
        others = [person for person in draw.sample(range(people), size) if person != creator]
        title = GROUP_TITLES[number % len(GROUP_TITLES)]
        round_ = number // len(GROUP_TITLES)
        name = f"{title} {round_ + 1}" if round_ else title
        rooms.append((name, (creator, *others[: max(1, size - 1)])))
    return rooms
