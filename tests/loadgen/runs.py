"""A finished run of the model world, for the tests of figures and of the page."""

import random
from collections import Counter
from datetime import UTC, datetime

from loadgen.demo.conservation import check
from loadgen.demo.figures import Absence, latencies, tallies, timeline
from loadgen.demo.plan import Act
from loadgen.demo.report import Cost, Run
from loadgen.machine import this_machine
from tests.loadgen.world import World


def finished(world: World, *, failure: str = "") -> Run:
    draw = random.Random(1)  # noqa: S311 - figures, not secrets
    for message in world.ledger.messages.values():
        message.sent_s = message.intended_s
        if message.acked_s >= 0:
            message.acked_s = message.intended_s + draw.lognormvariate(-5.2, 0.6)
    absences = [
        Absence(step.device, step.at_s, step.at_s + step.away_s + 0.02)
        for step in world.plan.steps
        if step.act is Act.CUT
    ]
    seconds = world.plan.seconds
    counts = Counter({str(act): count for act, count in world.plan.counts.items()})
    return Run(
        started=datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        command="peyk demo --seconds 30",
        target="http://127.0.0.1:20000",
        seed=world.population.seed,
        people=len(world.population.people),
        devices=len(world.population.owners),
        directs=len(world.population.directs),
        groups=len(world.population.places) - len(world.population.directs),
        seconds=seconds,
        phases=(("platform started", 3.2), ("people signed up", 8.1), ("came to rest", 0.4)),
        verdict=None if failure else check(world.ledger, world.truth()),
        latencies=tuple(latencies(world.ledger, absences, [0.02, 0.03, 0.2])),
        timeline=timeline(world.ledger, absences, seconds),
        tallies=tuple(tallies(world.ledger, world.plan, counts, counts)),
        refusals=(("RATE_LIMITED", 3),),
        cuts=len(absences),
        resumed=len(absences),
        cost=Cost({"gateway": 6.1, "postgres": 2.2}, {"gateway": 120.0, "postgres": 210.0}),
        machine=this_machine(),
        failure=failure,
    )
