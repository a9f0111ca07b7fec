"""Find the open sessions, page by page."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NamedTuple

import structlog
from holdfast.shared.errors import RequestInvalid
from holdfast.shared.ids import check_session_id
from holdfast.shared.keys import STATES, session_keys, session_of
from holdfast.shared.owner import check_tenant, owner_of, public_id
from holdfast.shared.queue import JobRef
from holdfast.shared.redis.client import Redis
from holdfast.shared.redis.errors import MasterLost, RedisError, is_lasting
from holdfast.shared.redis.log_connections import LogConnection, LogConnections

PAGE_KEYS = 1000  # keys per SCAN: well below a millisecond of the server's time

log = structlog.get_logger()


class OpenSession(NamedTuple):
    """A session with a job that has not ended, or with a pending deletion.

    `head`: the head of its backlog, if any. `held`: the session has a lease owner. `has_intents`: intents are
    pending."""

    session_id: str
    head: JobRef | None
    held: bool
    has_intents: bool


class OpenSessions:
    """The open sessions of all log servers. Every call raises RedisError when a server does not answer; a page only
    when no master of a cluster does."""

    def __init__(self, connections: LogConnections) -> None:
        self._connections = connections
        self._skipped: bytes | None = None

    async def page(self, cursor: int) -> tuple[int, list[str]]:
        """Return the sessions among the next keys, and the cursor of the following page: 0 at the end of a round.

        A session that exists throughout a round is in at least one of its pages. The servers are searched in turn; the
        cursor is that of a server's SCAN, times the number of servers, plus the server's number."""
        servers = self._connections.servers
        position, number = divmod(cursor, len(servers))
        position, keys = await self._scan(servers[number].redis, position)
        cursor = position * len(servers) + number if position else (number + 1) % len(servers)
        return cursor, self._named(keys)

    async def open(self, session_ids: Sequence[str]) -> list[OpenSession]:
        """Return those of the sessions that are open."""
        states = [(name, ("hmget", session_keys(name).state, "worker", "deleted", "attention")) for name in session_ids]
        backlogs = [(name, ("lindex", session_keys(name).backlog, 0)) for name in session_ids]
        replies = await self._together([*states, *backlogs])
        found = zip(session_ids, replies[: len(states)], replies[len(states) :], strict=True)
        busy = [(name, state, _text(head)) for name, state, head in found if state and (head or state[1])]
        heads = [(name, head) for name, _, head in busy if head]
        questions = [(name, ("hget", session_keys(name).jobs, f"{head}:agent")) for name, head in heads]
        agents = await self._together(questions)
        known = [(*head, _text(agent)) for head, agent in zip(heads, agents, strict=True)]
        entries = {name: JobRef(name, head, agent) for name, head, agent in known if agent}
        return [
            OpenSession(name, entries.get(name), held=state[0] is not None, has_intents=any(state[1:]))
            for name, state, _ in busy
        ]

    async def _scan(self, redis: Redis, start: int) -> tuple[int, list[bytes]]:
        """Return the following cursor and a page of keys. A round leaves out masters of a cluster that do not answer,
        unless none does."""
        cursor = start
        while True:
            try:
                following, keys = await redis.scan(cursor, match=STATES, count=PAGE_KEYS)
                return following, keys
            except MasterLost as error:
                cursor = error.next_cursor
                if cursor == 0:
                    if start == 0:
                        raise
                    return 0, []

    def _named(self, keys: Sequence[bytes]) -> list[str]:
        """Return the sessions of state keys. Foreign keys are left out, and logged unless the last one logged is the
        same."""
        names = {key: _session(key) for key in keys}
        foreign = min((key for key, name in names.items() if name is None), default=None)
        if foreign is not None and foreign != self._skipped:
            self._skipped = foreign
            log.warning("key is not that of a session; skipped", key=repr(foreign))
        return [name for name in names.values() if name is not None]

    async def _together(self, commands: Sequence[tuple[str, tuple[str | int, ...]]]) -> list[Any]:
        """Send the commands of sessions, in one round trip per server. The reply is None where the key holds a foreign
        value."""
        places: defaultdict[LogConnection, list[int]] = defaultdict(list)
        for place, (session_id, _) in enumerate(commands):
            places[self._connections.connection_for(session_id)].append(place)
        replies: list[Any] = [None] * len(commands)
        for server, found in places.items():
            for place, reply in zip(found, await server.redis.call_all([commands[at][1] for at in found]), strict=True):
                replies[place] = reply
        for reply in replies:
            if isinstance(reply, RedisError) and not is_lasting(reply):
                raise reply
        refused = [reply for reply in replies if isinstance(reply, RedisError)]
        if refused:
            log.warning("sessions cannot be read", sessions=len(refused), error=str(refused[0]))
        return [None if isinstance(reply, RedisError) else reply for reply in replies]


def _session(key: bytes) -> str | None:
    """Return the session of a state key; None for a foreign key."""
    try:
        name = session_of(key.decode())
        if (owner := owner_of(name)) is not None:
            check_tenant(owner.tenant)
        check_session_id(public_id(name))
    except (ValueError, RequestInvalid):
        return None
    return name


def _text(value: bytes | None) -> str | None:
    """Decode a value; None for a foreign one."""
    try:
        return value.decode() if value is not None else None
    except UnicodeDecodeError:
        return None
