"""The ways in which a worker of T1 dies or freezes."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from bench.ledger import InvalidRun
from bench.processes import Child

# Of Linux' cgroups, version 1. Version 2 needs its controllers delegated, which a bench must not change.
MEMORY_GROUPS = Path("/sys/fs/cgroup/memory")
LIMIT_BYTES = "65536"
DEATH_S = 30.0

Death = Callable[[Child], Awaitable[float]]
"""Make the process die or freeze. Returns the time.monotonic() of it. Raises InvalidRun."""


def by_signal(number: signal.Signals) -> Death:
    async def die(child: Child) -> float:
        os.kill(child.pid, number)
        return time.monotonic()

    return die


async def by_memory(child: Child) -> float:
    """Let the kernel kill the process at its next page of memory, as it does when memory runs out."""
    group = MEMORY_GROUPS / f"holdfast-bench-{child.pid}"
    group.mkdir()
    try:
        (group / "cgroup.procs").write_text(str(child.pid))
        (group / "memory.limit_in_bytes").write_text(LIMIT_BYTES)
        await _ended(child)
        return time.monotonic()
    finally:
        group.rmdir()


def memory_can_be_limited() -> bool:
    return os.access(MEMORY_GROUPS / "cgroup.procs", os.W_OK)


async def _ended(child: Child) -> None:
    deadline = time.monotonic() + DEATH_S
    while child.running:
        if time.monotonic() > deadline:
            raise InvalidRun(f"{child.name} was not killed at a limit of {LIMIT_BYTES} bytes")
        await asyncio.sleep(0.005)
