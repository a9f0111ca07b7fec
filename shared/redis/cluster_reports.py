"""The slots that the nodes of a Redis Cluster report."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from holdfast.shared.redis.address import cluster_address
from holdfast.shared.redis.cluster_slots import SlotRange, ranges_of
from holdfast.shared.redis.connection import RedisConnection
from holdfast.shared.redis.errors import ConnectionLost, RedisError

ANSWER_S = 1.0  # a frozen node delays a report by so much


async def master_urls(url: str) -> list[str]:
    """Return the addresses of the masters of a cluster; the address itself where it names one server.

    Raises RedisError when no node answers."""
    address = cluster_address(url)
    if address is None:
        return [url]
    reports = SlotReports(address.seeds, address.at)
    try:
        return [address.at(place) for place in sorted({found.place for found in await reports.read([])})]
    finally:
        reports.close()


class SlotReports:
    """Reads the slots that the nodes report, each time from the next node."""

    def __init__(self, seeds: Sequence[str], url_at: Callable[[str], str]) -> None:
        self._seeds = seeds
        self._url_at = url_at
        self._connections: dict[str, RedisConnection] = {}
        self._turn = 0

    async def read(self, masters: Sequence[str]) -> list[SlotRange]:
        """Return the ranges that the first node to answer reports. Raises RedisError when none does."""
        places = [*dict.fromkeys((*masters, *self._seeds))]
        for gone in self._connections.keys() - set(places):
            self._drop(gone)
        self._turn += 1
        error: RedisError = ConnectionLost("the cluster has no node")
        for number in range(len(places)):
            place = places[(self._turn + number) % len(places)]
            try:
                async with asyncio.timeout(ANSWER_S):
                    return await self._read_from(place)
            except RedisError as refused:
                error = refused
            except TimeoutError:
                error = ConnectionLost(f"{place} does not answer")
            self._drop(place)
        raise error

    def close(self) -> None:
        for place in [*self._connections]:
            self._drop(place)

    async def _read_from(self, place: str) -> list[SlotRange]:
        connection = self._connections.get(place)
        if connection is None or not connection.alive:
            opened = await RedisConnection.open(self._url_at(place), ANSWER_S)
            connection = self._connections[place] = opened
        slots, nodes = await connection.execute_all([("CLUSTER", "SLOTS"), ("CLUSTER", "NODES")])
        for reply in (slots, nodes):
            if isinstance(reply, RedisError):
                raise reply
        if not slots:
            raise ConnectionLost(f"{place} knows no slots")
        return ranges_of(slots, nodes, place)

    def _drop(self, place: str) -> None:
        connection = self._connections.pop(place, None)
        if connection is not None:
            connection.abort()
