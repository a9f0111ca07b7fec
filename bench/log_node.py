"""The servers with logs of a simulation: the one Redis, or the masters of a cluster."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from operator import add, sub
from typing import Any

from holdfast.shared.keys import log_key
from holdfast.shared.redis.cluster_slots import slot_of
from holdfast.shared.redis.log_connections import LogConnection

from bench.simulated_session import Watcher, Writer

SINGLE = ""  # the place of the one Redis


@dataclass(frozen=True, slots=True)
class Usage:
    """What a server did so far, and what it holds. All but `events` (appended) and `pushes` (invalidations that the
    gateways got) is from its own accounts: CPU in s, memory in bytes."""

    events: int
    pushes: int
    cpu_s: float
    commands: int
    reads: int
    connections: int
    memory: int
    client_memory: int
    tracked_keys: int

    @property
    def data(self) -> int:
        """The bytes that are not those of connections."""
        return self.memory - self.client_memory

    def __add__(self, other: Usage) -> Usage:
        return Usage(*map(add, astuple(self), astuple(other)))

    def __sub__(self, other: Usage) -> Usage:
        return Usage(*map(sub, astuple(self), astuple(other)))


@dataclass(slots=True)
class LogNode:
    """A server, and the sessions whose logs it has."""

    place: str
    redis: Any
    writers: list[Writer] = field(default_factory=list)
    watchers: list[Watcher] = field(default_factory=list)
    lags_s: list[float] = field(default_factory=list)
    pushes: int = 0

    @property
    def missing(self) -> int:
        """How many events are not delivered yet, or broke the chain."""
        return sum(watcher.missing for watcher in self.watchers)

    async def usage(self) -> Usage:
        info, clients = await self.redis.info("everything"), await self.redis.client_list()
        return Usage(
            sum(writer.seq for writer in self.writers),
            self.pushes,
            info["used_cpu_user"] + info["used_cpu_sys"],
            info["total_commands_processed"],
            sum(info.get(name, {}).get("calls", 0) for name in ("cmdstat_xread", "cmdstat_xrange")),
            info["connected_clients"],
            info["used_memory"],
            sum(int(client["tot-mem"]) for client in clients),
            info["tracking_total_keys"],
        )


async def nodes_of(server: LogConnection) -> dict[str, LogNode]:
    """Return the servers behind one address, by place."""
    if server.cluster is None:
        return {SINGLE: LogNode(SINGLE, server.redis)}
    masters = await server.cluster.masters()
    return {master.place: LogNode(master.place, master.client) for master in masters}


def place_of(server: LogConnection, session_id: str) -> str:
    """Return the place of the server that has a session's log."""
    if server.cluster is None:
        return SINGLE
    return server.cluster.slots.owners[slot_of(log_key(session_id))] or SINGLE
