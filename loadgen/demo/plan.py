"""What the virtual people do and when: a seeded list of steps, made before anything is sent.

Pure, and open in the sense of load testing: a step fires at its time whatever became of earlier
ones, so a slow server is seen as latency and not as a smaller load. The plan stays below half of
the product's rate limits; a refusal by a limit in a demo run is therefore news.
"""

import random
from enum import StrEnum

from msgspec import Struct

from loadgen.demo.population import Place, Population
from loadgen.demo.words import PHRASES

SENDS_PER_PERSON_S = 0.7
CONVERSATION = 6.0
"""Mean messages of a conversation, geometric."""
GROUP_SHARE = 0.35
SQUARE_SHARE = 0.04
"""Of the conversations: in the square, where hundreds of devices may listen."""
OPEN_SHARE = 0.5
"""Of the square's devices: how many have it on screen at some time."""
GAP_S = 1.1
GAP_SIGMA = 0.7
EDIT, DELETE, READ, TYPING, REPLY = 0.06, 0.04, 0.45, 0.30, 0.12
CUT_SHARE = 0.25
"""Of the devices: how many lose their socket once or twice on the way."""
AWAY_S = (0.15, 4.0)
BACK_S = 1.0
"""At least, between coming back and the next cut."""
QUIET_S = 2.0
"""Nobody is cut in the last seconds, so that all are back for the last word."""


class Act(StrEnum):
    """What a step does."""

    SEND = "send"
    EDIT = "edit"
    DELETE = "delete"
    READ = "read"
    TYPING = "typing"
    OPEN = "open"
    """Bring the large chat on screen: its events come live from now on."""
    SHUT = "shut"
    CUT = "cut"


class Step(Struct, frozen=True):
    """One intention of one device."""

    at_s: float
    event: int
    """Unique, 1.. in the order of the plan; a message's text carries it."""
    device: int
    act: Act
    place: int = -1
    of: int = 0
    """The event of the message that is edited, deleted or replied to."""
    text: str = ""
    away_s: float = 0.0


class Plan(Struct, frozen=True):
    """All steps by time; `counts` says how many of each act."""

    seconds: float
    steps: tuple[Step, ...]

    @property
    def counts(self) -> dict[Act, int]:
        counts = dict.fromkeys(Act, 0)
        for step in self.steps:
            counts[step.act] += 1
        return counts


def tagged(phrase: str, event: int) -> str:
    """The text as sent: whoever sees it knows which intention it came from, also once edited."""
    return f"{phrase} ⟦{event}⟧"


def event_of(text: str) -> int:
    """The event in a text made by `tagged`; 0 where there is none."""
    start, end = text.rfind("⟦"), text.rfind("⟧")
    digits = text[start + 1 : end] if 0 <= start < end else ""
    return int(digits) if digits.isdecimal() and len(digits) < 12 else 0


class _Allowance:
    """Token buckets at half of the product's figures, in plan time."""

    def __init__(self, burst: float, per_s: float) -> None:
        self._burst, self._per_s = burst / 2, per_s / 2
        self._level: dict[object, tuple[float, float]] = {}

    def take(self, key: object, at_s: float) -> bool:
        level, then = self._level.get(key, (self._burst, 0.0))
        level = min(self._burst, level + (at_s - then) * self._per_s)
        if level < 1.0:
            return False
        self._level[key] = (level - 1.0, at_s)
        return True


class _Draft(Struct):
    """A step before it has its number: `ref` names the draft of the message it is about."""

    at_s: float
    device: int
    act: Act
    place: int
    ref: "_Draft | None" = None
    phrase: str = ""
    away_s: float = 0.0
    event: int = 0


def plan_demo(population: Population, seconds: float) -> Plan:
    """The steps of one run; deterministic by the population's seed and `seconds`."""
    if not 1.0 <= seconds <= 3_600.0:
        raise ValueError(f"a demo lasts 1 to 3,600 s, not {seconds:g}")
    draw = random.Random(f"plan/{population.seed}/{seconds:g}")
    drafts = _talk(draw, population, seconds)
    drafts += _looks(draw, population, seconds)
    drafts += _cuts(draw, population, seconds)
    kept = _allowed(population, sorted(drafts, key=lambda draft: draft.at_s))
    for event, draft in enumerate(kept, start=1):
        draft.event = event
    return Plan(seconds, tuple(_numbered(draft) for draft in kept))


def _talk(draw: random.Random, population: Population, seconds: float) -> list[_Draft]:
    """Conversations start as a Poisson process; each goes back and forth in one chat."""
    drafts: list[_Draft] = []
    rate = len(population.people) * SENDS_PER_PERSON_S / CONVERSATION
    at_s = draw.expovariate(rate)
    while at_s < seconds:
        place = _somewhere(draw, population)
        _converse(draw, population, place, at_s, seconds, drafts)
        at_s += draw.expovariate(rate)
    return drafts


def _somewhere(draw: random.Random, population: Population) -> Place:
    choice = draw.random()
    if population.square is not None and choice > 1.0 - SQUARE_SHARE:
        return population.square
    rooms = population.groups if choice < GROUP_SHARE else population.directs
    return rooms[draw.randrange(len(rooms))]


def _converse(
    draw: random.Random,
    population: Population,
    place: Place,
    at_s: float,
    seconds: float,
    drafts: list[_Draft],
) -> None:
    last: _Draft | None = None
    speaker = draw.choice(place.members)
    while at_s < seconds:
        device = draw.choice(population.people[speaker].devices)
        if draw.random() < TYPING:
            drafts.append(_Draft(max(0.0, at_s - 0.6), device, Act.TYPING, place.index))
        ref = last if last is not None and draw.random() < REPLY else None
        said = _Draft(at_s, device, Act.SEND, place.index, ref, draw.choice(PHRASES))
        drafts.append(said)
        drafts.extend(_afterwards(draw, population, place, said, seconds))
        last = said
        if draw.random() < 1.0 / CONVERSATION:
            return
        at_s += draw.lognormvariate(0.0, GAP_SIGMA) * GAP_S
        others = [member for member in place.members if member != speaker]
        speaker = draw.choice(others)


def _afterwards(
    draw: random.Random, population: Population, place: Place, said: _Draft, seconds: float
) -> list[_Draft]:
    """What follows a message: a second thought of the sender, a reader."""
    drafts = []
    second_thought = draw.random()
    later = said.at_s + draw.uniform(0.8, 4.0)
    if second_thought < EDIT:
        text = "ویرایش: " + draw.choice(PHRASES)
        drafts.append(_Draft(later, said.device, Act.EDIT, place.index, said, text))
    elif second_thought < EDIT + DELETE:
        drafts.append(_Draft(later, said.device, Act.DELETE, place.index, said))
    if draw.random() < READ:
        owner = population.owners[said.device]
        reader = draw.choice([member for member in place.members if member != owner])
        device = draw.choice(population.people[reader].devices)
        drafts.append(_Draft(said.at_s + draw.uniform(0.2, 2.5), device, Act.READ, place.index))
    return [draft for draft in drafts if draft.at_s < seconds]


def _looks(draw: random.Random, population: Population, seconds: float) -> list[_Draft]:
    """Who looks at the square, from when to when; some stay until the end."""
    drafts: list[_Draft] = []
    square = population.square
    for member in square.members if square is not None else ():
        for device in population.people[member].devices:
            if square is None or draw.random() > OPEN_SHARE:
                continue
            opened, shut = draw.uniform(0.0, seconds * 0.7), draw.uniform(0.0, seconds * 2)
            drafts.append(_Draft(opened, device, Act.OPEN, square.index))
            if opened + 0.5 < shut < seconds:
                drafts.append(_Draft(shut, device, Act.SHUT, square.index))
    return drafts


def _cuts(draw: random.Random, population: Population, seconds: float) -> list[_Draft]:
    drafts: list[_Draft] = []
    last = seconds - QUIET_S
    if last <= 0.2:
        return drafts
    for device in range(len(population.owners)):
        times = draw.choice((1, 1, 2)) if draw.random() < CUT_SHARE else 0
        back_s = 0.0
        for at_s in sorted(draw.uniform(0.2, last) for _ in range(times)):
            if at_s >= back_s:  # who is away cannot be cut
                away_s = min(draw.uniform(*AWAY_S), seconds - at_s)
                back_s = at_s + away_s + BACK_S
                drafts.append(_Draft(at_s, device, Act.CUT, -1, away_s=away_s))
    return drafts


def _allowed(population: Population, drafts: list[_Draft]) -> list[_Draft]:
    """Drop what would pass half of a limit of protocol B5, and what is about a dropped message."""
    account = _Allowance(60, 1.0)
    chat = _Allowance(20, 0.5)
    typing = _Allowance(2, 0.25)
    cursor = _Allowance(20, 2.0)
    kept: list[_Draft] = []
    alive: set[int] = set()
    for draft in drafts:
        owner = population.owners[draft.device]
        if draft.ref is not None and id(draft.ref) not in alive:
            if draft.act is not Act.SEND:
                continue
            draft.ref = None
        if draft.act in (Act.SEND, Act.EDIT, Act.DELETE):
            fine = account.take(owner, draft.at_s) and chat.take((owner, draft.place), draft.at_s)
        elif draft.act is Act.TYPING:
            fine = typing.take((owner, draft.place), draft.at_s)
        elif draft.act is Act.READ:
            fine = cursor.take(draft.device, draft.at_s)
        else:
            fine = True
        if fine:
            alive.add(id(draft))
            kept.append(draft)
    return kept


def _numbered(draft: _Draft) -> Step:
    of = draft.ref.event if draft.ref is not None else 0
    subject = of if draft.act is Act.EDIT else draft.event
    text = tagged(draft.phrase, subject) if draft.phrase else ""
    return Step(
        round(draft.at_s, 6),
        draft.event,
        draft.device,
        draft.act,
        draft.place,
        of,
        text,
        round(draft.away_s, 6),
    )
