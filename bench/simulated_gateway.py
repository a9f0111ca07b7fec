"""A gateway without HTTP: its connections to the logs, its tailer, and its share of the viewers."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from holdfast.gateway.stream.channels import Channels
from holdfast.gateway.stream.cluster_tailer import ClusterTailer
from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.node_tail import NodeTail
from holdfast.gateway.stream.tailer import Tailer
from holdfast.shared.redis.log_connections import LogConnections, connect_logs

from bench.log_node import SINGLE, LogNode
from bench.simulated_session import Watcher, Writer

DEADLINE_S = 10.0
RECHECK_S = 30.0  # as in a gateway


class CountedTailer(Tailer):
    """Counts the invalidations of its server."""

    node: LogNode

    def invalidated(self, keys: list[bytes] | None) -> None:
        self.node.pushes += 1
        super().invalidated(keys)


class CountedClusterTailer(ClusterTailer):
    """Counts the invalidations of each master."""

    nodes: Mapping[str, LogNode]

    def invalidated_by(self, tail: NodeTail, keys: list[bytes] | None) -> None:
        self.nodes[tail.place].pushes += 1
        super().invalidated_by(tail, keys)


class SimulatedGateway:
    """A gateway at the logs of an address, which is one server or a cluster."""

    def __init__(self, url: str, nodes: Mapping[str, LogNode]) -> None:
        self._logs = connect_logs(url, max_connections=8, deadline_s=DEADLINE_S)
        self._tailer = _counted_tailer(self._logs, nodes)
        self._running = asyncio.create_task(self._tailer.run())

    @property
    def connected(self) -> bool:
        return self._tailer.connected

    def view(self, writer: Writer, node: LogNode) -> Watcher:
        """Follow a session from the end of its log."""
        watcher = Watcher(writer, node.lags_s)
        self._tailer.join(self._tailer.watch(writer.attempt.session_id), watcher)
        return watcher

    async def aclose(self) -> None:
        self._running.cancel()
        await asyncio.gather(self._running, return_exceptions=True)
        await self._logs.aclose()


def _counted_tailer(logs: LogConnections, nodes: Mapping[str, LogNode]) -> Channels:
    server, counters, keyring = logs.servers[0], Counters(), logs.keyring
    if server.cluster is None:
        single = CountedTailer(server.url, counters, keyring, recheck_s=RECHECK_S, deadline_s=DEADLINE_S)
        single.node = nodes[SINGLE]
        return single
    cluster = CountedClusterTailer(server.cluster, counters, keyring, recheck_s=RECHECK_S, deadline_s=DEADLINE_S)
    cluster.nodes = nodes
    return cluster
