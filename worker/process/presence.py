"""Show by an open connection that this worker's process lives, and find dead workers by their closed connections.

When a process dies, its kernel closes its connections in the same moment, and the queue server knows which are open. A
worker registers the id of one connection. A dead worker is one whose registered connection is closed and whose
heartbeat has not moved for GRACE_SECONDS since then: a worker that lost only its connection opens another one, and
registers it, which counts as a heartbeat. Where the server does not say which connections are open, or a proxy shares
them among processes, dead workers are found by their lease only.

See https://redis.io/docs/latest/commands/client-list/.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import structlog
from holdfast.shared.keys import WORKERS
from holdfast.shared.queue import PLACES
from holdfast.shared.redis.connection import RedisConnection
from holdfast.shared.redis.errors import RedisError, is_lasting
from holdfast.shared.redis.sentinel import open_connection
from holdfast.shared.scripts import Script, source

CHECK_SECONDS = 0.9  # the least time between two checks of the connections, by whichever workers
GRACE_SECONDS = 1.0

_IDS = re.compile(rb"^id=(\d+) ", re.MULTILINE)
_RUN_ID = re.compile(rb"^run_id:(\w+)", re.MULTILINE)

log = structlog.get_logger()


class Observation(NamedTuple):
    """What the queue server knew at one moment: the heartbeat counter of each worker, and of those whose registered
    connection is closed. `mistaken`: this worker had been found dead. `first`: the first one over this connection."""

    counts: dict[str, int]
    closed: dict[str, int]
    mistaken: bool = False
    first: bool = False


class ClosedConnections:
    """Decides which workers with a closed connection are dead. Free of I/O: the caller passes the time.

    `_since`: the counter with which each one's connection was found closed, and when, in seconds of the monotonic
    clock."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._since: dict[str, tuple[int, float]] = {}
        self._observed_s = float("-inf")

    def observe(self, seen: Observation, now_s: float) -> dict[str, int]:
        """Add an observation. Returns the dead workers, each with its counter. An observation that comes late, or over
        another connection, restarts the series: this process, or the server, may be the one that stood still."""
        if seen.first or now_s - self._observed_s > self._grace_s:
            self.restart()
        self._observed_s = now_s
        self._since = {worker: since for worker, since in self._since.items() if seen.counts.get(worker) == since[0]}
        for worker, count in seen.closed.items():
            self._since.setdefault(worker, (count, now_s))
        return {worker: count for worker, (count, since_s) in self._since.items() if now_s - since_s >= self._grace_s}

    def restart(self) -> None:
        """Restart the series after a failed observation."""
        self._since.clear()


class Presence:
    """The registered connection, over which the workers are observed as well.

    So a series of observations is one of the same run of the server, whose ids it compares: it ends with the
    connection."""

    def __init__(self, url: str, worker_id: str, deadline_s: float) -> None:
        self._url = url
        self._worker_id = worker_id
        self._deadline_s = deadline_s
        self._script = Script(source("queue", "observe"))
        self._connection: RedisConnection | None = None
        self._observed_over: RedisConnection | None = None
        self._shared = False
        self._run_id = b""
        self._client_id: int | None = None  # None: the server does not say which connections are open
        self._reason = ""

    async def observe(self) -> Observation:
        """Observe all workers; about once a second, one of the workers checks which connections are open.

        Raises RedisError. The next call opens another connection if needed, and registers it first."""
        if self._connection is None or not self._connection.alive:
            await self._open()
        assert self._connection is not None
        own = b"" if self._client_id is None else b"%s %d" % (self._run_id, self._client_id)
        arguments = (self._worker_id, own, int(CHECK_SECONDS * 1000))
        mistaken, *to_check = await self._script.run(self._connection.execute, PLACES, arguments)
        first, self._observed_over = self._connection is not self._observed_over, self._connection
        if mistaken and not first:  # its own connection has been open all the time
            self._give_up_for_good()
        # A script that returns all counters takes several times as long as this command.
        registered, counted = to_check or ((), await self._connection.execute("HGETALL", WORKERS))
        counts = {name.decode(): int(count) for name, count in _pairs(counted)}
        connections = {name.decode(): connection for name, connection in _pairs(registered)}
        return Observation(counts, await self._closed(counts, connections), bool(mistaken), first)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.abort()

    async def _open(self) -> None:
        self._connection = connection = await open_connection(RedisConnection, self._url, self._deadline_s)
        if self._shared:
            return
        client_id, info = await connection.execute_all([("CLIENT", "ID"), ("INFO", "server")])
        run_id = _RUN_ID.search(info) if isinstance(info, bytes) else None
        if isinstance(client_id, int) and run_id:
            self._client_id, self._run_id = client_id, run_id[1]
        else:
            self._give_up(next((reply for reply in (client_id, info) if isinstance(reply, RedisError)), None))

    async def _closed(self, counts: Mapping[str, int], registered: Mapping[str, bytes]) -> dict[str, int]:
        """Return those workers whose connection to this run of the server is closed. Ids are never used again."""
        ids = {name: int(connection.split()[1]) for name, connection in registered.items() if self._is_here(connection)}
        ids.pop(self._worker_id, None)
        if not ids or self._client_id is None or self._connection is None:
            return {}
        try:
            listed = await self._connection.execute("CLIENT", "LIST", "ID", self._client_id, *ids.values())
        except RedisError as error:
            self._give_up(error)
            return {}
        found = {int(each) for each in _IDS.findall(listed)}
        if self._client_id not in found:
            self._give_up_for_good()
            return {}
        return {name: counts[name] for name, number in ids.items() if number not in found and name in counts}

    def _is_here(self, connection: bytes) -> bool:
        return connection.startswith(self._run_id + b" ")

    def _give_up_for_good(self) -> None:
        """Check and register no connections from now on: a proxy shares them among processes."""
        self._shared = True
        self._give_up(None)

    def _give_up(self, error: RedisError | None) -> None:
        """Check no connections over this one from now on. Raises the error if it is temporary."""
        if error is not None and not is_lasting(error):
            self.close()
            raise error
        self._client_id = None
        reason = "ids of connections are not those of this server" if error is None else str(error)
        if reason != self._reason:
            self._reason = reason
            log.warning("dead workers are found by their lease only", reason=reason)


def _pairs(flat: Sequence[Any]) -> zip[tuple[Any, Any]]:
    return zip(flat[::2], flat[1::2], strict=True)
