"""A node that counts its objects: `python -m loadgen.bench.watched FILE OPTIONS-OF-NODE`.

Python's collector stays off, so that what is not freed by reference count stays. On SIGUSR1 the
number of objects goes into FILE.
"""

import gc
import runpy
import signal
import sys
from pathlib import Path


def never(generation: int = 2) -> int:
    """In place of `gc.collect`: nothing is collected."""
    return 0 * generation


def main() -> None:
    file = Path(sys.argv[1])

    def count(*_: object) -> None:
        number = len(gc.get_objects()) + gc.get_freeze_count()
        fresh = file.with_suffix(".new")
        fresh.write_text(str(number), encoding="ascii")
        fresh.replace(file)

    gc.disable()
    gc.collect = never
    signal.signal(signal.SIGUSR1, count)
    sys.argv = ["peyk", "node", *sys.argv[2:]]
    runpy.run_module("messenger", run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
