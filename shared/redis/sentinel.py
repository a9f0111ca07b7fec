"""Connections to the primary that a majority of sentinels names, which are closed when it names another one.

Sentinel does not fence an old primary: it takes writes for some 10 s after it was replaced, and they are lost. So the
sentinels are asked when a connection is opened and each second, the role of the server is checked, and a connection is
dropped when its server refuses writes as a replica or for lack of replicas.

See https://redis.io/docs/latest/operate/oss_and_stack/management/sentinel/.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextvars import Context
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import structlog
from holdfast.shared.redis.address import SentinelAddress, place_of, sentinel_address
from holdfast.shared.redis.connection import Listener, RedisConnection
from holdfast.shared.redis.errors import ConnectionLost, NotEnoughReplicas, RedisError

log = structlog.get_logger()

ASK_INTERVAL_S = 1.0
ANSWER_SECONDS = 1.0
REPLICAS = 2

Connection = TypeVar("Connection", bound=RedisConnection)


async def open_connection(
    kind: type[Connection], url: str, deadline_s: float, *, listener: Listener | None = None, tracking: bool = True
) -> Connection:
    """Open a connection to the server at an address, or to the primary that its sentinels name.

    Raises as `RedisConnection.open` does; ConnectionLost also when no majority of the sentinels names a primary, or
    when the server is none."""
    address = sentinel_address(url)
    if address is None:
        return await kind.open(url, deadline_s, listener=listener, tracking=tracking)
    watch = _watch_of(address)
    place = await watch.primary()
    connection = await kind.open(address.at(place), deadline_s, listener=listener, tracking=tracking)
    if connection.role != "master":
        connection.abort()
        raise ConnectionLost(f"{place}, which the sentinels name, is a {connection.role}")
    connection.abort_on(NotEnoughReplicas)
    watch.add(connection, place)
    return connection


def replication_problems(info: Mapping[str, Any]) -> list[str]:
    """Return the reasons in a primary's INFO why it must not be used with Sentinel."""
    good = info.get("min_slaves_good_slaves")
    if good is None:
        return ["min-replicas-to-write is 0, so that an old primary would take writes that are lost; it must be 1"]
    if int(good) == 0:
        return ["takes no writes: no replica has confirmed them within min-replicas-max-lag"]
    return []


def replication_notes(info: Mapping[str, Any]) -> list[str]:
    """Return what in a primary's INFO leaves no reserve: with one replica, its loss stops all writes."""
    replicas = int(info.get("connected_slaves", 0))
    return [] if replicas >= REPLICAS else [f"replicas: {replicas}; with {REPLICAS}, one may fail"]


class PrimaryWatch:
    """Asks the sentinels of one address while connections to its primary are open, and closes those to another server.

    Places are texts such as `10.0.0.1:6379`."""

    def __init__(self, address: SentinelAddress) -> None:
        self._name = address.name
        self._sentinels = {url: _Sentinel(url) for url in address.sentinels}
        self._places: dict[RedisConnection, str] = {}
        self._asking: asyncio.Task[str] | None = None
        self._late: set[asyncio.Task[str | None]] = set()
        self._watching: asyncio.Task[None] | None = None

    async def primary(self) -> str:
        """Return the place that a majority of the sentinels names now. Raises ConnectionLost."""
        self._keep_watching()
        if self._asking is None:
            self._asking = asyncio.create_task(self._ask(), context=Context())
            self._asking.add_done_callback(self._answered)
        asking = self._asking
        await asyncio.wait({asking})
        if asking.cancelled():
            raise ConnectionLost("the event loop is closing")
        return asking.result()

    def add(self, connection: RedisConnection, place: str) -> None:
        """Close the connection as soon as the primary is at another place."""
        self._places[connection] = place
        self._keep_watching()

    def _answered(self, asking: asyncio.Task[str]) -> None:
        """Let the next call ask again, also if all that waited for this answer were cancelled."""
        self._asking = None
        if not asking.cancelled():
            asking.exception()  # or asyncio logs an error that no call has read

    def _keep_watching(self) -> None:
        if self._watching is None:
            self._watching = asyncio.create_task(self._watch(), context=Context())

    async def _ask(self) -> str:
        """Return the place as soon as a majority names it, without waiting for the others."""
        count = len(self._sentinels)
        majority = count // 2 + 1
        votes: Counter[str | None] = Counter()
        pending = {asyncio.create_task(sentinel.ask(self._name)) for sentinel in self._sentinels.values()}
        while pending:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            votes.update(answer.result() for answer in done)
            for place, named_by in votes.items():
                if place is not None and named_by >= majority:
                    self._keep(pending)
                    return place
        named = ", ".join(f"{place} by {named_by}" for place, named_by in votes.items() if place) or "by none"
        raise ConnectionLost(f"{majority} of {count} sentinels must name the primary {self._name}; named {named}")

    def _keep(self, late: set[asyncio.Task[str | None]]) -> None:
        """Refer to tasks until they end, as an event loop does not."""
        self._late |= late
        for task in late:
            task.add_done_callback(self._late.discard)

    async def _watch(self) -> None:
        """Ask each second, until no connection is left."""
        try:
            while True:
                await asyncio.sleep(ASK_INTERVAL_S)
                self._places = {open_: place for open_, place in self._places.items() if open_.alive}
                if not self._places:
                    return
                await self._close_others()
        finally:
            self._watching = None
            for sentinel in self._sentinels.values():
                sentinel.close()

    async def _close_others(self) -> None:
        try:
            primary = await self.primary()
        except ConnectionLost:
            return  # without a majority nothing is known: the connections stay, and new ones are refused
        moved = [connection for connection, place in self._places.items() if place != primary]
        if moved:
            log.warning("the sentinels name another primary", primary=primary, closed=len(moved))
        for connection in moved:
            connection.abort()


class _Sentinel:
    """The connection to one sentinel, opened on demand."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._connection: RedisConnection | None = None
        self._opening = asyncio.Lock()

    async def ask(self, name: str) -> str | None:
        """Return the place of the primary, or None where the sentinel does not answer or knows none."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                async with self._opening:
                    if self._connection is None or not self._connection.alive:
                        self._connection = await RedisConnection.open(self._url, ANSWER_SECONDS)
                reply = await self._connection.execute("SENTINEL", "GET-MASTER-ADDR-BY-NAME", name)
        except (RedisError, TimeoutError):
            return None
        return place_of(reply)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.abort()


_WATCHES: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[SentinelAddress, PrimaryWatch]] = WeakKeyDictionary()


def _watch_of(address: SentinelAddress) -> PrimaryWatch:
    """Return the watch that all connections of this event loop to an address share."""
    watches = _WATCHES.setdefault(asyncio.get_running_loop(), {})
    return watches.setdefault(address, PrimaryWatch(address))
