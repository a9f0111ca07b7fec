"""All keys that Holdfast writes in Redis. docs/architecture.md lists their writers, fences and lifetimes.

All keys of a session share the hash tag `{session_id}`, so that they are in one Cluster slot and one script may use
them.
"""

from __future__ import annotations

from typing import NamedTuple

# Log server: one family per session, and the secret that session ids are derived from.
PREFIX = "holdfast:"
SECRET = PREFIX + "secret"


class SessionKeys(NamedTuple):
    """The keys of one session, in the order in which every session script takes them."""

    log: str
    state: str
    backlog: str
    jobs: str
    order: str
    messages: str
    idempotency: str
    journal: str


_STORED = {"backlog": "line"}  # the key keeps the name under which it was published
_NAMES = tuple(_STORED.get(field, field) for field in SessionKeys._fields)


def session_keys(session_id: str) -> SessionKeys:
    return SessionKeys(*(_session_key(session_id, name) for name in _NAMES))


STATES = PREFIX + "{*}:state"  # the pattern of the keys that `session_of` parses


def session_of(key: str) -> str:
    """Return the session of a key."""
    return key[len(PREFIX) + 1 : key.index("}")]


def log_key(session_id: str) -> str:
    return _session_key(session_id, "log")


def state_key(session_id: str) -> str:
    return _session_key(session_id, "state")


def _session_key(session_id: str, name: str) -> str:
    return f"{PREFIX}{{{session_id}}}:{name}"


# Queue server: one family per deployment.
QUEUE = PREFIX + "queue:"
ENTRIES = QUEUE + "tokens"
DEFERRED = QUEUE + "deferred"
AGAIN = QUEUE + "again"
LANES = QUEUE + "lanes"
WORKERS = QUEUE + "workers"
WAKE = QUEUE + "wake"
RECOVERY = QUEUE + "recovery"
RECOVERY_TURN = QUEUE + "recovery:turn"
AGENTS = QUEUE + "agents"
AGENTS_SEEN = QUEUE + "agents:seen"
SESSIONS = PREFIX + "sessions:*"  # one list, until sessions belong to principals

# Prefixes that scripts and callers complete with the name of a lane or a worker.
READY = QUEUE + "ready:"
LEASED = QUEUE + "leased:"
MAILBOX = QUEUE + "mailbox:"
