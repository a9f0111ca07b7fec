"""Find the open sessions of a log server, page by page."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import structlog
from holdfast.shared.errors import RequestInvalid
from holdfast.shared.ids import check_session_id
from holdfast.shared.keys import STATES, session_keys, session_of
from holdfast.shared.queue import JobRef
from holdfast.shared.redis import Redis, RedisError, is_lasting

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
    """The open sessions of a log server. Every call raises RedisError when the server does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._skipped: bytes | None = None

    async def page(self, cursor: int) -> tuple[int, list[str]]:
        """Return the sessions among the next keys, and the cursor of the following page: 0 at the end of a round.

        A session that exists throughout a round is in at least one of its pages."""
        cursor, keys = await self._redis.scan(cursor, match=STATES, count=PAGE_KEYS)
        return cursor, self._named(keys)

    async def open(self, session_ids: Sequence[str]) -> list[OpenSession]:
        """Return those of the sessions that are open."""
        states = [("hmget", session_keys(name).state, "worker", "deleted", "attention") for name in session_ids]
        backlogs = [("lindex", session_keys(name).backlog, 0) for name in session_ids]
        replies = await self._together([*states, *backlogs])
        found = zip(session_ids, replies[: len(states)], replies[len(states) :], strict=True)
        busy = [(name, state, _text(head)) for name, state, head in found if state and (head or state[1])]
        heads = [(name, head) for name, _, head in busy if head]
        agents = await self._together([("hget", session_keys(name).jobs, f"{head}:agent") for name, head in heads])
        known = [(*head, _text(agent)) for head, agent in zip(heads, agents, strict=True)]
        entries = {name: JobRef(name, head, agent) for name, head, agent in known if agent}
        return [
            OpenSession(name, entries.get(name), held=state[0] is not None, has_intents=any(state[1:]))
            for name, state, _ in busy
        ]

    def _named(self, keys: Sequence[bytes]) -> list[str]:
        """Return the sessions of state keys. Foreign keys are left out, and logged unless the last one logged is the
        same."""
        names = {key: _session(key) for key in keys}
        foreign = min((key for key, name in names.items() if name is None), default=None)
        if foreign is not None and foreign != self._skipped:
            self._skipped = foreign
            log.warning("key is not that of a session; skipped", key=repr(foreign))
        return [name for name in names.values() if name is not None]

    async def _together(self, commands: list[tuple[str | int, ...]]) -> list[Any]:
        """Send commands in one round trip. The reply is None where the key holds a foreign value."""
        if not commands:
            return []
        replies = await self._redis.call_all(commands)
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
        return check_session_id(session_of(key.decode()))
    except (UnicodeDecodeError, RequestInvalid):
        return None


def _text(value: bytes | None) -> str | None:
    """Decode a value; None for a foreign one."""
    try:
        return value.decode() if value is not None else None
    except UnicodeDecodeError:
        return None
