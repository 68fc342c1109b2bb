"""One benchmark's result: the same fields for all, null where a benchmark does not measure one."""

from typing import Any

from msgspec import Struct, field

from loadgen.bench.procstat import CLASSES, Cost
from loadgen.machine import Machine

OTHER_CORES = 0.15
STEAL = 0.02
DRIVER_CORES = 0.95
LATENESS_MS = 2.0


class Row(Struct, kw_only=True):
    """Performance design, section 14. CPU is microseconds of all server processes per unit."""

    name: str
    n: int = 0
    """Units counted by the driver on arrival, in the measured window."""
    seconds: float = 0.0
    rate_per_s: float | None = None
    cpu_us: float | None = None
    cpu_us_w1: float | None = None
    """The same with one in flight."""
    cpu_us_by: dict[str, float] | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None
    kib_per_session: float | None = None
    lost: int | None = None
    duplicated: int | None = None
    reordered: int | None = None
    valid: bool = True
    commit: str = ""
    python: str = ""
    cores: int = 0
    more: dict[str, Any] = field(default_factory=dict)

    @property
    def intact(self) -> bool:
        """Nothing lost, doubled or swapped: the one thing a benchmark can fail for."""
        return not (self.lost or self.duplicated or self.reordered)

    def charge(self, cost: Cost, units: int) -> None:
        """Take over time, rate and CPU of a window with `units` arrivals."""
        self.n, self.seconds = units, round(cost.seconds, 3)
        self.rate_per_s = round(units / cost.seconds, 1)
        self.cpu_us, self.cpu_us_by = per_unit(cost, units)
        self.more["driver_cores"] = round(cost.driver_cores, 3)
        self.more["other_cores"] = round(cost.other_cores, 3)
        self.more["steal"] = round(cost.steal, 4)
        self.doubt(cost)

    def doubt(self, cost: Cost) -> None:
        """Mark the row INVALID where something else than the server decided the figures."""
        if cost.other_cores > OTHER_CORES:
            self.invalid(f"{cost.other_cores:.2f} cores were busy with other work")
        if cost.steal > STEAL:
            self.invalid(f"the host took {100 * cost.steal:.1f} % of the time")
        if cost.driver_cores > DRIVER_CORES:
            self.invalid(f"the driver itself used {cost.driver_cores:.2f} cores")

    def invalid(self, why: str) -> None:
        self.valid = False
        reasons = self.more.setdefault("invalid", [])
        if why not in reasons:
            reasons.append(why)

    def sign(self, machine: Machine) -> None:
        if not self.intact:
            self.invalid("something was lost, doubled or swapped")
        self.commit, self.python, self.cores = machine.commit, machine.python, machine.cores
        self.more |= {"dirty": machine.dirty, "cpu": machine.cpu, "kernel": machine.kernel}


def per_unit(cost: Cost, units: int) -> tuple[float, dict[str, float]]:
    """Microseconds per unit: all, and by class of process."""
    scale = 1e6 / max(1, units)
    by = {kind: round(cost.cpu_s[kind] * scale, 2) for kind in CLASSES}
    return round(cost.server_s * scale, 2), by
