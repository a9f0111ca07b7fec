"""The series of a session's tickets: a random name in the session's state, which each of its tickets carries.

A ticket of another series is void. So tickets are revoked by removing a field, and end with their session. The log of a
deleted session, which exists for a minute more, keeps the series, so that a ticket can still read `session.deleted`."""

from __future__ import annotations

import secrets

from holdfast.shared.errors import SessionUnknown
from holdfast.shared.keys import log_key, state_key
from holdfast.shared.redis.errors import RedisError, is_of_data
from holdfast.shared.redis.log_connections import LogConnections
from holdfast.shared.scripts import SessionScript

FIELD = "tickets"
LOG_FIELD = b"t"  # of `session.deleted`, as in settle.lua
NAME_BYTES = 12


class TicketSeries:
    """The series of all sessions, by their complete ids. Every call raises RedisError when the log server does not
    answer."""

    def __init__(self, connections: LogConnections) -> None:
        self._connections = connections
        self._begin = SessionScript(connections, "ticket")

    async def begun(self, session_id: str) -> str:
        """Return the series of a session; it begins with the first ticket. Raises SessionUnknown, SchemaNewer."""
        word, *series = await self._begin(session_id, [secrets.token_urlsafe(NAME_BYTES)])
        if word != b"ok":
            raise SessionUnknown
        return str(series[0].decode())

    async def current(self, session_id: str) -> str | None:
        """Return the series of a session; None without one."""
        redis = self._connections.connection_for(session_id).redis
        found = await redis.hget(state_key(session_id), FIELD)
        return None if found is None else found.decode()

    async def of_deleted(self, session_id: str) -> str | None:
        """Return the series of a deleted session whose log still exists; None without one, or if the id has a session
        again."""
        redis = self._connections.connection_for(session_id).redis
        commands = ("HGET", state_key(session_id), "created"), ("XREVRANGE", log_key(session_id), "+", "-", "COUNT", 1)
        created, newest = await redis.call_all(commands)
        for reply in (created, newest):
            if isinstance(reply, RedisError) and not is_of_data(reply):
                raise reply
        if created is not None or isinstance(newest, RedisError) or not newest:
            return None
        fields = newest[0][1]
        found: bytes | None = dict(zip(fields[::2], fields[1::2], strict=True)).get(LOG_FIELD)
        return None if found is None else found.decode()

    async def end(self, session_id: str) -> None:
        """Void all tickets of a session that were made so far."""
        redis = self._connections.connection_for(session_id).redis
        await redis.hdel(state_key(session_id), FIELD)
