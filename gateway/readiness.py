"""Readiness: whether the Redis servers are available, configured as Holdfast requires, and grant it its rights."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

import structlog
from holdfast.shared.background import repeat
from holdfast.shared.redis.address import sentinel_address
from holdfast.shared.redis.client import Redis, user_of
from holdfast.shared.redis.cluster import Cluster
from holdfast.shared.redis.cluster_node import ClusterNode
from holdfast.shared.redis.errors import (
    AuthenticationError,
    CertificateRefused,
    NoPermissionError,
    RedisError,
    ResponseError,
)
from holdfast.shared.redis.log_connections import LogConnection, LogConnections
from holdfast.shared.redis.rights import refusals
from holdfast.shared.redis.sentinel import replication_problems
from holdfast.shared.redis.users import GATEWAY, Right

logger = structlog.get_logger()

OLDEST_VERSION = (7, 0)
PROBE_DEADLINE_S = 2.0
NODE_DEADLINE_S = 1.5  # of one node of a cluster
WATCH_INTERVAL_S = 1.0


def reasons_not_ready(info: Mapping[str, Any]) -> list[str]:
    """Return the reasons in a server's INFO why it cannot be used; empty if it can."""
    reasons = []
    version = str(info.get("redis_version", "unknown"))
    if not _new_enough(version):
        reasons.append(f"version {version} is older than {'.'.join(map(str, OLDEST_VERSION))}")
    if info.get("role") != "master":
        reasons.append("is a replica, which takes no writes")
    policy = info.get("maxmemory_policy")
    if policy != "noeviction":
        reasons.append(f"maxmemory-policy is {policy}, which may evict whole sessions; it must be noeviction")
    if used := _full(info):
        reasons.append(
            f"is full: {used} bytes of maxmemory {info['maxmemory']} are used; reads go on, writes are refused"
        )
    return reasons


def _full(info: Mapping[str, Any]) -> int | None:
    """Return the bytes that count against maxmemory if Redis refuses writes because of them, else None."""
    limit = int(info.get("maxmemory", 0))
    used = int(info.get("used_memory", 0)) - int(info.get("mem_not_counted_for_evict", 0))
    return used if 0 < limit < used else None


def _new_enough(version: str) -> bool:
    parts = version.split(".")[:2]
    return all(part.isdecimal() for part in parts) and tuple(int(part) for part in parts) >= OLDEST_VERSION


def _reason(error: Exception) -> str:
    """Return the code of the server's error, such as BUSY; without one, the kind of the failure."""
    if isinstance(error, CertificateRefused):
        return str(error)
    code = str(error).partition(" ")[0]
    return code if isinstance(error, ResponseError) and code.isupper() else type(error).__name__


class Server:
    """One server: its state, and whether the user of its address has the rights of a gateway."""

    def __init__(self, name: str, url: str, redis: Redis, rights: Sequence[Right]) -> None:
        self.name = name
        self._url = url
        self._redis = redis
        self._rights = rights
        self._looking = asyncio.Lock()  # each look at the rights opens a connection
        self._missing: list[str] = []
        self._looked_s = -math.inf

    async def reasons(self) -> list[str]:
        """Return why the server cannot be used. Raises RedisError when it does not answer."""
        missing = await self._refusals()
        try:
            info = await self._redis.info()
        except NoPermissionError:
            return missing
        replication = replication_problems(info) if sentinel_address(self._url) else []
        return missing + reasons_not_ready(info) + replication

    async def _refusals(self) -> list[str]:
        async with self._looking:
            now_s = time.monotonic()
            if now_s - self._looked_s >= WATCH_INTERVAL_S:
                refused = await refusals(self._url, self._rights, PROBE_DEADLINE_S)
                self._missing = refused.sentences(user_of(self._url))
                self._looked_s = now_s
            return self._missing


class ClusterServer:
    """A log server that is a Redis Cluster. It can be used while one master answers: the sessions of the others wait
    for a failover."""

    def __init__(self, name: str, cluster: Cluster) -> None:
        self.name = name
        self._cluster = cluster
        self._masters: dict[ClusterNode, Server] = {}  # a master that comes back has other connections

    async def reasons(self) -> list[str]:
        """Return why masters that answer cannot be used. Raises RedisError or TimeoutError when none answers."""
        nodes = await self._cluster.masters()
        self._masters = {node: self._masters.get(node) or self._server_of(node) for node in nodes}
        found = await asyncio.gather(*map(self._reasons_of, self._masters.values()), return_exceptions=True)
        answers = [reasons for reasons in found if not isinstance(reasons, BaseException)]
        failures = [error for error in found if isinstance(error, BaseException)]
        if failures and not answers:
            raise failures[0]
        return [reason for reasons in answers for reason in reasons]

    def _server_of(self, node: ClusterNode) -> Server:
        return Server(node.place, self._cluster.address.at(node.place), node.client, GATEWAY.on_cluster)

    async def _reasons_of(self, master: Server) -> list[str]:
        async with asyncio.timeout(NODE_DEADLINE_S):
            return [f"{master.name} {reason}" for reason in await master.reasons()]


def _log_server(log: LogConnection) -> Server | ClusterServer:
    if log.cluster is not None:
        return ClusterServer("log", log.cluster)
    return Server("log", log.url, log.redis, GATEWAY.needed_on_log)


class Readiness:
    """Checks the queue server and the log servers."""

    def __init__(self, queue_url: str, queue_redis: Redis, logs: LogConnections) -> None:
        queue = Server("queue", queue_url, queue_redis, GATEWAY.on_queue)
        self._servers: list[Server | ClusterServer] = [queue, *map(_log_server, logs.servers)]

    async def reasons(self) -> list[str]:
        """Return why the gateway is not ready; empty if it is. Takes at most PROBE_DEADLINE_S."""
        probes = await asyncio.gather(*map(self._probe, self._servers))
        return [reason for found in probes for reason in found]

    async def _probe(self, server: Server | ClusterServer) -> list[str]:
        try:
            async with asyncio.timeout(PROBE_DEADLINE_S):
                reasons = await server.reasons()
        except AuthenticationError:
            reasons = ["refuses the user or the password in its address"]
        except (RedisError, TimeoutError) as error:
            reasons = [f"does not answer ({_reason(error)})"]
        return [f"{server.name} redis: {reason}" for reason in reasons]

    async def watch(self) -> None:
        """Log the reasons when they change and when the gateway becomes ready; then end."""
        waiting: list[str] = []

        async def look() -> float | None:
            nonlocal waiting
            known, waiting = waiting, await self.reasons()
            if not waiting:
                logger.info("ready")
                return None
            if waiting != known:
                logger.warning("waiting until Redis can be used", reasons=waiting)
            return WATCH_INTERVAL_S

        await repeat("readiness", look)
