"""Free ports of the loopback interface."""

from __future__ import annotations

import contextlib
import os
import socket

LOWEST = 20_000


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_ports(count: int) -> int:
    """The first of some TCP ports of 127.0.0.1 in a row below those that the system assigns, so that no other test gets
    one meanwhile."""
    for first in range(LOWEST + os.getpid() % 10_000, 32_000, count):
        with contextlib.ExitStack() as probes:
            try:
                for port in range(first, first + count):
                    probes.enter_context(socket.create_server(("127.0.0.1", port)))
            except OSError:
                continue
            return first
    raise AssertionError("no free ports in a row")
