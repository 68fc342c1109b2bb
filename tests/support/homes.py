"""Folders for servers of a test, which go with it."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread


@contextmanager
def temporary_home() -> Iterator[Path]:
    """A home folder until the end of the block, also where that ends badly.

    Removed beside the next tests, as 1,400 files take seconds on some disks.
    """
    home = Path(tempfile.mkdtemp(prefix="peyk-test-"))
    try:
        yield home
    finally:
        Thread(target=_remove, args=(home,)).start()


def _remove(home: Path) -> None:
    link = home / "postgres"
    if link.is_symlink():
        # a server that was told to stop may still be removing its own files
        shutil.rmtree(link.readlink().parent, ignore_errors=True)
    shutil.rmtree(home, ignore_errors=True)
