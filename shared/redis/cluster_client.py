"""A client for a Redis Cluster, which sends each command to the node that owns its key."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from operator import attrgetter
from typing import Any

import structlog
from holdfast.shared.redis.auto_pipeline import PipelinedConnection
from holdfast.shared.redis.client import Client
from holdfast.shared.redis.cluster import Cluster, Way, key_of
from holdfast.shared.redis.cluster_node import ClusterNode
from holdfast.shared.redis.connection import Argument
from holdfast.shared.redis.errors import ConnectionLost, MasterLost, RedisConnectionError, RedisError, ResponseError

log = structlog.get_logger()


class ClusterCalls:
    """Calls of commands that have keys, all in one slot each, by one of the ways to a node."""

    def __init__(self, cluster: Cluster, way: Way) -> None:
        self._cluster = cluster
        self._way = way

    async def call(self, *command: Argument) -> Any:
        """Send a command. Returns the raw reply. Raises RedisError."""
        return await self._cluster.call(self._way, command)

    async def call_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send commands back to back, to several nodes at a time. Returns their replies, each of which may be a
        RedisError. One that was redirected runs after the others."""
        places: defaultdict[ClusterNode, list[int]] = defaultdict(list)
        for place, command in enumerate(commands):
            places[await self._cluster.owner(key_of(command))].append(place)
        replies: list[Any] = [None] * len(commands)
        found = [self._call_node(node, [commands[place] for place in taken]) for node, taken in places.items()]
        for taken, some in zip(places.values(), await asyncio.gather(*found), strict=True):
            for place, reply in zip(taken, some, strict=True):
                replies[place] = reply
        return replies

    async def _call_node(self, node: ClusterNode, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        try:
            replies = await self._way(node).call_all(commands)
        except ConnectionLost as error:
            self._cluster.failed(error)
            raise
        for number, reply in enumerate(replies):
            if isinstance(reply, ResponseError | ConnectionLost):
                try:
                    replies[number] = await self._cluster.follow(self._way, node.place, commands[number], reply)
                except RedisError as error:
                    replies[number] = error
        return replies


class ClusterPipeline(ClusterCalls):
    """Calls that many sessions gather in one write to each node."""

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster, attrgetter("pipeline"))

    async def connection_for(self, key: str) -> PipelinedConnection:
        """Return the open connection to the node that owns a key. Its `execute_soon` follows redirections. Raises
        ConnectionLost, or RedisError when refused."""
        node = await self._cluster.owner(key)
        try:
            return await node.pipeline.connection()
        except ConnectionLost as error:
            self._cluster.failed(error)
            raise

    async def aclose(self) -> None:
        """Close the connections of the cluster."""
        await self._cluster.aclose()


class ClusterClient(Client):
    """Sends each command to the node that owns its key. Has no transactions, and without a key only PING and SCAN."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._calls = ClusterCalls(cluster, attrgetter("client"))
        self._away: set[str] = set()  # the masters that did not answer their last SCAN

    async def call(self, *command: Argument) -> Any:
        """Send a command. Returns the raw reply."""
        if command[0] == "MGET" and len(command) > 2:
            return await self._get(command[1:])
        if command[0] == "SCAN":
            return await self._scan(*command[1:])
        if command[0] == "PING":
            return await self._ping()
        return await self._calls.call(*command)

    async def call_all(self, commands: Sequence[Sequence[Argument]]) -> list[Any]:
        """Send commands to their nodes. Returns their replies, each of which may be a RedisError."""
        return await self._calls.call_all(commands)

    async def aclose(self) -> None:
        """Close the connections of the cluster."""
        await self._cluster.aclose()

    async def _get(self, keys: Sequence[Argument]) -> list[Any]:
        """Get values of several slots."""
        replies = await self._calls.call_all([("MGET", key) for key in keys])
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return [value for (value,) in replies]

    async def _ping(self) -> bytes:
        """Wait until each master has answered."""
        masters = await self._cluster.masters()
        await asyncio.gather(*(master.client.call("PING") for master in masters))
        return b"PONG"

    async def _scan(self, cursor: Argument, *options: Argument) -> list[Any]:
        """Search one master after another: the cursor is that of a master's SCAN, times the number of masters, plus the
        master's number. A round during which masters change may miss keys, as one during which a slot moves.

        Raises MasterLost when the master does not answer."""
        masters = await self._cluster.masters()
        position, number = divmod(int(cursor), len(masters))
        next_master = (number + 1) % len(masters)
        place = masters[number].place
        try:
            following, keys = await masters[number].client.call("SCAN", position, *options)
        except RedisConnectionError as error:
            if place not in self._away:
                self._away.add(place)
                log.warning("a master of the cluster cannot be searched", node=place, error=str(error))
            raise MasterLost(str(error), next_master) from error
        if place in self._away:
            self._away.remove(place)
            log.info("a master of the cluster is searched again", node=place)
        position = int(following)
        cursor = position * len(masters) + number if position else next_master
        return [b"%d" % cursor, keys]
