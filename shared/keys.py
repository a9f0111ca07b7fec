"""Every key that Holdfast writes in Redis. `docs/architecture.md` has the table: who writes it, what fences it, when it goes.

All keys of a session share the hash tag `{session_id}`, so that they stand in one Cluster slot and one script sees them all.
"""

from __future__ import annotations

from typing import NamedTuple

# Log server: one family a session.
PREFIX = "holdfast:"


class SessionKeys(NamedTuple):
    """The keys of one session, in the order in which every session script takes them."""

    log: str
    state: str
    line: str
    jobs: str
    messages: str
    idempotency: str


def session_keys(session_id: str) -> SessionKeys:
    return SessionKeys(*(f"{PREFIX}{{{session_id}}}:{name}" for name in SessionKeys._fields))


def log_key(session_id: str) -> str:
    return f"{PREFIX}{{{session_id}}}:log"


# Queue server: one family a deployment.
QUEUE = PREFIX + "queue:"
DEFERRED = QUEUE + "deferred"
TOKENS = QUEUE + "tokens"
DEADLINES = QUEUE + "deadlines"
WORKERS = QUEUE + "workers"
WAKE = QUEUE + "wake"
AGENTS = QUEUE + "agents"
AGENTS_SEEN = QUEUE + "agents:seen"
SEQUENCE = QUEUE + "sequence"


def ready_key(lane: str) -> str:
    return f"{QUEUE}ready:{lane}"


def leased_key(worker_id: str) -> str:
    return f"{QUEUE}leased:{worker_id}"


def mailbox_key(worker_id: str) -> str:
    return f"{QUEUE}mailbox:{worker_id}"
