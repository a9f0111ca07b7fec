"""The machine of a measurement, and the assignment of its cores."""

from __future__ import annotations

import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Cores:
    """CPU numbers: one core for the server under test, another for Redis and the load. None: not pinned."""

    server: int | None
    load: int | None


def cores() -> Cores:
    """The first two cores that this process may use. On a machine with one nothing is pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return Cores(None, None)
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[1]) if len(allowed) > 1 else Cores(None, None)


def facts() -> str:
    """Describe the machine in one line."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release()}, Python {platform.python_version()}"
    busy = f"load {os.getloadavg()[0]:.1f} at the start"
    return f"{os.cpu_count()} cores ({_processor()}), {memory_gib:.0f} GiB, {system}, {busy}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
