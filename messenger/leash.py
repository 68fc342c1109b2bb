"""Runs a program that dies with the process that started it.

Started by path, as `python -I -S leash.py PARENT SIGNAL UID GID PROGRAM ARGUMENTS..`: the Linux
kernel sends SIGNAL when PARENT is gone, even after kill -9, so a killed supervisor leaves nothing
behind. UID and GID are `-` to stay the same user. Where the kernel cannot do this (macOS), the
program runs without a leash and the next start ends it by its pid file.
"""

import ctypes
import os
import sys

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> None:
    """Become PROGRAM; returns only by an exception."""
    parent, signal, uid, gid, *program = arguments
    if uid != "-":  # before prctl: a change of user clears the death signal
        os.setgroups([])
        os.setgid(int(gid))
        os.setuid(int(uid))
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_PR_SET_PDEATHSIG, int(signal), 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        if os.getppid() != int(parent):  # it died before the line above; nobody will signal us
            sys.exit(0)
    os.execv(program[0], program)  # noqa: S606 - our own supervisor wrote the arguments


if __name__ == "__main__":
    main(sys.argv[1:])
