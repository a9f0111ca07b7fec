"""Resource usage of a process, from /proc: memory, open files, and connections to Redis."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

MIB = 1024.0


@dataclass(frozen=True, slots=True)
class Vitals:
    """`rss_mib` and `pss_mib` of the process alone, without its children. `files`: open ones but for connections to
    Redis, which are `redis`."""

    rss_mib: float
    pss_mib: float
    files: int
    redis: int


def vitals(pid: int, redis_port: int) -> Vitals:
    """Raises OSError when the process is gone, or the machine has no /proc."""
    memory = _memory_kib(pid)
    links = _links(pid)
    redis = len(links & _sockets_to(pid, redis_port))
    return Vitals(memory["Rss"] / MIB, memory["Pss"] / MIB, len(links) - redis, redis)


def _memory_kib(pid: int) -> dict[str, int]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    fields = (line.split() for line in lines)
    return {name.rstrip(":"): int(kib) for name, kib, *_ in fields}


def _links(pid: int) -> set[str]:
    """What each open file is, with its number; a socket is `socket:[inode]`, which is its own."""
    links = set()
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with suppress(FileNotFoundError):  # closed just now
            link = Path(entry.path).readlink().as_posix()
            links.add(link if link.startswith("socket:") else f"{entry.name} {link}")
    return links


def _sockets_to(pid: int, port: int) -> set[str]:
    """The sockets of the process's machine that are connected to this port of 127.0.0.1."""
    remote = f"0100007F:{port:04X}"
    rows = (line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:])
    return {f"socket:[{row[9]}]" for row in rows if row[2] == remote}
