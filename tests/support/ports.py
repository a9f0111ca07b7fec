"""Free ports of the loopback interface."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket

SINGLE = range(10_000, 20_000)
LOWEST = 20_000
_turns = itertools.count(os.getpid() * 97)


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nothing listens on just now.

    It is below those that the system assigns, so that no connection gets it meanwhile, and each process begins at
    another one."""
    for turn in itertools.islice(_turns, len(SINGLE)):
        port = SINGLE[turn % len(SINGLE)]
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            return port
    raise AssertionError("no free port")


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
