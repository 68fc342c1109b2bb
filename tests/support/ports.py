"""Ports for programs that a test starts: free ones that no outgoing connection ever takes."""

import random
import socket

PORTS = range(20_000, 29_990)  # below 32768, where ephemeral ports begin


def free_ports(count: int = 1) -> int:
    """The first of `count` ports in a row that nobody listens on."""
    for port in random.SystemRandom().sample(PORTS, 200):
        if all(_free(port + number) for number in range(count)):
            return port
    raise AssertionError("unreachable: thousands of ports are free")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
