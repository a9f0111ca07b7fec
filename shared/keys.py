"""All keys that Holdfast writes in Redis. docs/architecture.md lists their writers, fences and lifetimes.

All keys of a session share the hash tag `{session_id}`, so that they are in one Cluster slot and one script may use
them.
"""

from __future__ import annotations

from typing import NamedTuple

from holdfast.shared.owner import Owner, complete_id

# Log server: one family per session, the secret that session ids are derived from, and the data keys of each tenant.
PREFIX = "holdfast:"
SECRET = PREFIX + "secret"
DATA_KEYS = PREFIX + "datakey:"  # completed with the tenant


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
STATUSES = WORKERS + ":status"  # of workers
CONNECTIONS = WORKERS + ":connections"
CONNECTIONS_TURN = CONNECTIONS + ":turn"
WAKE = QUEUE + "wake"
RECOVERY = QUEUE + "recovery"
RECOVERY_TURN = QUEUE + "recovery:turn"
WEBHOOK_TENANTS = QUEUE + "webhooks:tenants"
WEBHOOK_TRIES = QUEUE + "webhooks:tries"
WEBHOOK_ASKED = QUEUE + "webhooks:asked"
AGENTS = QUEUE + "agents"
AGENTS_SEEN = QUEUE + "agents:seen"
RATE = PREFIX + "rate:"
SESSIONS = PREFIX + "sessions:*"  # of all owners

AUTH = PREFIX + "auth:"
AUTH_KEYS = AUTH + "keys"
AUTH_TENANTS = AUTH + "tenants"
AUTH_REVOKED = AUTH + "revoked"  # the tickets of tenants
AUTH_REVOCATIONS = AUTH + "revocations"  # of the tickets of sessions
AUTH_VERSION = AUTH + "version"
AUTH_SECRET = AUTH + "secret"


def sessions_key(owner: Owner | None) -> str:
    """Return the key of the list of an owner's sessions; without one, of all sessions."""
    return SESSIONS if owner is None else SESSIONS[:-1] + complete_id(owner, "").removesuffix("/")


def usage_key(tenant: str, day: str) -> str:
    """Return the key of what a tenant used on a UTC day such as 2026-11-23."""
    return f"{PREFIX}usage:{tenant}:{day}"


# Prefixes that scripts and callers complete with the name of a lane, a worker or a tenant.
READY = QUEUE + "ready:"
TENANT = QUEUE + "tenant:"  # `counts`, `paused`, `asking`, `turns:<lane>`, `ready:<tenant>/<lane>`, `lanes:<tenant>`
LEASED = QUEUE + "leased:"
GUESSED = QUEUE + "guessed:"  # then a worker, or an entry that was taken from one
MAILBOX = QUEUE + "mailbox:"
WEBHOOKS = QUEUE + "webhooks:due:"
WEBHOOK_HOSTS = QUEUE + "webhooks:hosts:"  # then `<tenant>` or `<tenant>/<host>`
