"""The nodes of a Redis Cluster, and which of them owns a key.

The slot map is read each second, from one node after another, and after each redirection and each loss. A command that
a node refused was not executed, so it is sent again to where its key is now; one whose connection was lost may have
been executed, so it fails with ConnectionLost, as on a single server.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextvars import Context
from operator import attrgetter
from typing import Any

import structlog
from holdfast.shared.redis.address import cluster_address
from holdfast.shared.redis.auto_pipeline import AutoPipeline
from holdfast.shared.redis.client import Client
from holdfast.shared.redis.cluster_node import ClusterNode, NodePipeline
from holdfast.shared.redis.cluster_reports import SlotReports
from holdfast.shared.redis.cluster_slots import Redirect, SlotMap, redirect_of, slot_of
from holdfast.shared.redis.connection import Argument
from holdfast.shared.redis.errors import ConnectionLost, RedisError, ResponseError

log = structlog.get_logger()

REFRESH_S = 1.0
REFRESH_PAUSE_S = 0.1  # between two reads of the map, however many commands fail
SETTLE_S = 0.1  # for which a redirected slot keeps its owner: nodes may name each other for a while
REDIRECTED_PAUSE_S = 0.02  # before the second and each further redirection of a command

OnMoved = Callable[[set[int]], None]
Way = Callable[[ClusterNode], Client | AutoPipeline]


def key_of(command: Sequence[Argument]) -> str | bytes:
    """Return the first key of a command that has keys."""
    key = command[3] if command[0] in ("EVALSHA", "EVAL") else command[1]
    assert not isinstance(key, int)
    return key


class Cluster:
    """The nodes of a cluster. `moved_listeners` are called with the slots whose owner changed."""

    def __init__(self, url: str, *, max_connections: int, deadline_s: float, flush_interval_s: float) -> None:
        address = cluster_address(url)
        if address is None:
            raise ValueError("should be redis+cluster://host:6379,host:6379")
        self.address = address
        self.slots = SlotMap()
        self.moved_listeners: list[OnMoved] = []
        self._max_connections = max_connections
        self._deadline_s = deadline_s
        self._flush_interval_s = flush_interval_s
        self._nodes: dict[str, ClusterNode] = {}
        self._reports = SlotReports(address.seeds, address.at)
        self._watching: asyncio.Task[None] | None = None
        self._refreshing: asyncio.Task[None] | None = None
        self._failure: RedisError | None = None  # of the last attempt to read the slot map
        self._read_at_s = float("-inf")  # by the loop's clock, when it was last read
        self._owned: set[str] = set()  # the owners of slots at that time
        self._settling: dict[int, float] = {}  # slots that were redirected, and until when they keep their owner
        self._closed = False

    def node(self, place: str) -> ClusterNode:
        """Return the connections to the node at `host:port`, which are opened on demand. Raises ConnectionLost once the
        cluster is closed."""
        found = self._nodes.get(place)
        if found is None:
            if self._closed:
                raise ConnectionLost("the connections to the cluster were closed")
            found = self._nodes[place] = self._new_node(place)
        return found

    def place_of(self, key: str | bytes) -> str:
        """Return the place of the known owner of a key; empty while none is known."""
        return self.slots.owners[slot_of(key)]

    async def owner(self, key: str | bytes) -> ClusterNode:
        """Return the node that owns a key. Raises ConnectionLost while none is known, or why no node says so."""
        self.keep_watching()
        slot = slot_of(key)
        if not self.slots.owners[slot]:
            await self.refresh()
        place = self.slots.owners[slot]
        if not place:
            raise self._failure or ConnectionLost(f"no node of the cluster owns slot {slot}")
        return self.node(place)

    async def masters(self) -> list[ClusterNode]:
        """Return the nodes that own slots. Raises ConnectionLost while none is known, or why no node says so."""
        self.keep_watching()
        if not self.slots.places:
            await self.refresh()
        if not self.slots.places:
            raise self._failure or ConnectionLost("no node of the cluster owns slots")
        return [self.node(place) for place in self.slots.places]

    async def call(self, way: Way, command: Sequence[Argument]) -> Any:
        """Send a command to the node that owns its key, and follow redirections. Raises RedisError."""
        node = await self.owner(key_of(command))
        try:
            return await way(node).call(*command)
        except (ResponseError, ConnectionLost) as error:
            return await self.follow(way, node.place, command, error)

    async def follow(self, way: Way, place: str, command: Sequence[Argument], error: RedisError) -> Any:
        """Send a command again that failed at the node at `place`, if it was redirected. Raises RedisError: the error
        itself if it was not; ConnectionLost for a redirection that lasts longer than the deadline."""
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._deadline_s
        while (redirect := redirect_of(error, place)) is not None:
            if loop.time() > ends_at:
                raise ConnectionLost(f"the slot is still moving: {error}")
            node, commands = await self._target(redirect, command)
            try:
                reply = (await way(node).call_all(commands))[-1]
            except ConnectionLost as lost:
                reply = lost
            if not isinstance(reply, RedisError):
                return reply
            error, place = reply, node.place
            await asyncio.sleep(REDIRECTED_PAUSE_S)
        self.failed(error)
        raise error

    async def _target(
        self, redirect: Redirect, command: Sequence[Argument]
    ) -> tuple[ClusterNode, list[Sequence[Argument]]]:
        """Return where a redirected command goes, and what to send there."""
        if redirect.code == "ASK":
            return self.node(redirect.place), [("ASKING",), command]
        if redirect.code == "MOVED":
            self.redirected(redirect)
            return self.node(redirect.place), [command]
        return await self.owner(key_of(command)), [command]

    def redirected(self, redirect: Redirect) -> bool:
        """Take a MOVED: change the map, and read it again, since other slots may have moved too. Returns whether the
        owner changed."""
        self.refresh_soon()
        now_s = asyncio.get_running_loop().time()
        settling = self._settling.get(redirect.slot, 0) > now_s
        if settling or not self.slots.move(redirect.slot, redirect.place):
            return False
        self._settling[redirect.slot] = now_s + SETTLE_S
        self._moved({redirect.slot})
        return True

    def failed(self, error: RedisError) -> None:
        """Read the map again after a failure that another owner may end."""
        if isinstance(error, ConnectionLost) or str(error).startswith("CLUSTERDOWN"):
            self.refresh_soon()

    def refresh_soon(self) -> None:
        """Read the slot map again, unless it is being read."""
        if self._refreshing is None and not self._closed:
            self._refreshing = asyncio.create_task(self._refresh(), context=Context())

    async def refresh(self) -> None:
        """Read the slot map, or wait until it has been read."""
        self.refresh_soon()
        if self._refreshing is not None:
            await asyncio.wait({self._refreshing})

    def keep_watching(self) -> None:
        """Read the slot map each second from now on."""
        if self._watching is None and not self._closed:
            self._watching = asyncio.create_task(self._watch(), context=Context())

    async def aclose(self) -> None:
        """Close all connections."""
        self._closed = True
        tasks = [task for task in (self._watching, self._refreshing) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._reports.close()
        for node in self._nodes.values():
            await node.aclose()

    async def _watch(self) -> None:
        while True:
            await self.refresh()
            await asyncio.sleep(REFRESH_S)

    async def _refresh(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            await asyncio.sleep(self._read_at_s + REFRESH_PAUSE_S - loop.time())
            self._read_at_s = loop.time()
            moved = self.slots.report(await self._reports.read(self.slots.places))
        except RedisError as error:
            self._failure = error.with_traceback(None)
            return
        finally:
            self._refreshing = None
        self._failure = None
        self._settling = {slot: until_s for slot, until_s in self._settling.items() if until_s > self._read_at_s}
        if moved:
            self._moved(moved)
        owners = set(self.slots.places)
        former, self._owned = self._owned - owners, owners
        await self._close(former)

    def _moved(self, slots: set[int]) -> None:
        for listener in self.moved_listeners:
            listener(slots)

    async def _close(self, places: set[str]) -> None:
        """Close the connections to nodes that lost their last slot: what is under way at a frozen one would wait for
        the deadline, and a demoted one keeps its connections open."""
        for place in places:
            node = self._nodes.pop(place, None)
            if node is not None:
                log.info("a node of the cluster owns no slots any more", node=place)
                await node.aclose()

    def _new_node(self, place: str) -> ClusterNode:
        url, deadline_s = self.address.at(place), self._deadline_s
        pipeline = NodePipeline(
            url, place, self._refused, deadline_s=deadline_s, flush_interval_s=self._flush_interval_s
        )
        return ClusterNode(place, Client(url, self._max_connections, deadline_s), pipeline)

    async def _refused(self, place: str, command: Sequence[Argument], error: ResponseError | ConnectionLost) -> Any:
        return await self.follow(attrgetter("pipeline"), place, command, error)
