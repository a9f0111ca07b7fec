"""The queue: one entry for every job that has not ended, in arq's payload format as JSON.

An entry is created before its job is accepted and dropped after the job's end is in the log. After any crash in between
the entry becomes visible and a worker takes it. The entry of a job that ends without an attempt is dropped before: the
intents of its session lead to the end. The log alone decides what is to be done with the job. A control entry
has no job: the worker that takes it carries out the intents of a session.
"""

from __future__ import annotations

import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import orjson
from arq.jobs import DeserializationError, deserialize_job_raw, serialize_job
from holdfast.shared import keys
from holdfast.shared.errors import NoAgents, QueueFull, TenantQueueFull
from holdfast.shared.offered_agents import MEMORY_US, unknown
from holdfast.shared.redis.client import Redis
from holdfast.shared.schema import SCHEMA
from holdfast.shared.scripts import queue_script
from holdfast.shared.settings import CommonSettings
from holdfast.shared.webhooks import refused_webhooks

PLACES = (
    keys.ENTRIES,
    keys.DEFERRED,
    keys.AGAIN,
    keys.LANES,
    keys.WORKERS,
    keys.WAKE,
    keys.AGENTS_SEEN,
    keys.READY,
    keys.LEASED,
    keys.MAILBOX,
    keys.RECOVERY,
    keys.RECOVERY_TURN,
    keys.SESSIONS,
    keys.TENANT,
    keys.WEBHOOKS,
    keys.WEBHOOK_TENANTS,
    keys.WEBHOOK_TRIES,
    keys.WEBHOOK_ASKED,
    keys.STATUSES,
    keys.CONNECTIONS,
    keys.CONNECTIONS_TURN,
    keys.GUESSED,
    keys.WEBHOOK_HOSTS,
)
ANY_LANE = "*"
RESERVE_US = 5_000_000
MAILBOX_LIMIT = 1000
MAILBOX_SECONDS = 60
WEBHOOK_REFUSED = 2  # a reply of drop.lua

DRAIN = "*drain"  # in a mailbox, where no session has such an id

_DELIVERY = re.compile(rb'"t":(\d+)')


@dataclass(frozen=True, slots=True)
class QueueEntry:
    """A leased queue entry.

    `job_id` is None for a control entry. `made_at`: ms since 1970 by the clock of the process that created the entry.
    `schema`: the schema version in which it was written. `webhook`: the job may have one, as its record tells."""

    session_id: str
    job_id: str | None
    agent: str
    delivery: int
    made_at: int
    schema: int = SCHEMA
    webhook: bool = True

    @property
    def id(self) -> str:
        return entry_id(self.session_id, self.job_id)

    @property
    def age_s(self) -> float:
        """The seconds since the entry was created."""
        return time.time() - self.made_at / 1000


class JobRef(NamedTuple):
    """The parts from which the entry of a job can be created again."""

    session_id: str
    job_id: str
    agent: str

    @property
    def id(self) -> str:
        return entry_id(self.session_id, self.job_id)


class WakeUp(NamedTuple):
    """A message to a worker: an entry is visible, or there are intents for the lease owner of `session_id`.

    `drains`: it has to finish its jobs and exit."""

    session_id: str | None
    drains: bool = False


class Guess(NamedTuple):
    """The worker of which an entry was taken because it seemed to be dead, and the seconds in which that may still turn
    out to be wrong."""

    worker_id: str
    left_s: float


def entry_id(session_id: str, job_id: str | None) -> str:
    return f"{session_id}/{job_id or ''}"


class Queue:
    """The entries of the queue. Every call raises RedisError when the queue server does not answer, and may then be
    repeated."""

    def __init__(self, redis: Redis, settings: CommonSettings) -> None:
        self._redis = redis
        self._settings = settings
        self._max_running = settings.tenant_max_running or 0
        self._reserve = queue_script(redis, "reserve")
        self._ready = queue_script(redis, "ready")
        self._notify = queue_script(redis, "notify")
        self._take = queue_script(redis, "take")
        self._pause = queue_script(redis, "pause")
        self._put_back = queue_script(redis, "put_back")
        self._drop = queue_script(redis, "drop")
        self._discard = queue_script(redis, "discard")
        self._retire = queue_script(redis, "retire")
        self._restore = queue_script(redis, "restore")
        self._recovery_turn = queue_script(redis, "recovery_turn")
        self._recovery_advance = queue_script(redis, "recovery_advance")

    # Called by gateways.

    async def reserve(self, session_id: str, job_id: str, agent: str, *, webhook: bool = False) -> None:
        """Create the entry of a job that is about to be accepted, visible after 5 s. `webhook`: the job has one.

        Raises AgentUnknown, QueueFull, TenantQueueFull, and NoAgents when no agent at all is offered."""
        settings = self._settings
        limits = (RESERVE_US, settings.queue_limit, agent, MEMORY_US, settings.tenant_queue_limit)
        entry = entry_id(session_id, job_id)
        answer = await self._reserve(PLACES, (entry, _payload(session_id, job_id, agent, webhook=webhook), *limits))
        if answer == b"none":
            raise NoAgents
        if answer == b"unknown":
            raise unknown(agent)
        if answer == b"tenant full":
            raise TenantQueueFull(f"A tenant may have {settings.tenant_queue_limit} open jobs")
        if answer == b"full":
            raise QueueFull("The deployment has as many open jobs as it may have")

    async def discard(self, session_id: str, job_id: str, agent: str) -> None:
        """Drop the entry of a job that was refused."""
        await self._discard(PLACES, (entry_id(session_id, job_id), agent))

    async def make_ready(self, session_id: str, job_id: str, agent: str) -> None:
        """Make the job's entry visible now, creating it where it is missing, and wake a worker."""
        await self._ready(PLACES, (entry_id(session_id, job_id), _payload(session_id, job_id, agent), 0))

    async def add_control_entry(self, session_id: str, delay_s: float = 0) -> None:
        """Ensure that a worker carries out the session's intents, after a delay at the latest."""
        payload = _payload(session_id, None, ANY_LANE)
        await self._ready(PLACES, (entry_id(session_id, None), payload, int(delay_s * 1_000_000)))

    async def notify(self, worker_id: str, session_id: str) -> None:
        """Notify the lease owner of the session that intents are pending. Best effort: the message may be lost."""
        await self._notify(PLACES, (worker_id, session_id, MAILBOX_LIMIT, MAILBOX_SECONDS))

    async def drain(self, worker_id: str) -> None:
        """Let a worker finish its jobs and exit. Best effort, as `notify`. Workers of an older version ignore it."""
        await self.notify(worker_id, DRAIN)

    async def depth(self) -> int:
        """Return the number of entries, control entries included."""
        return int(await self._redis.hlen(keys.ENTRIES))

    # Called by workers.

    async def wait(self, worker_id: str, timeout_s: float, *, idle: bool) -> WakeUp | None:
        """Wait for a wake-up or a notification. Wake-ups are for `idle` workers only: a busy one would waste them.

        The timeout of the connection must be longer than `timeout_s`."""
        places = [keys.MAILBOX + worker_id, keys.WAKE] if idle else [keys.MAILBOX + worker_id]
        found = await self._redis.blpop(places, timeout=timeout_s)
        if found is None:
            return None
        if found[1] == DRAIN.encode():
            return WakeUp(None, drains=True)
        return WakeUp(None if found[0] == keys.WAKE.encode() else found[1].decode())

    async def wake(self) -> None:
        """Pass on a wake-up that arrived after the last free slot was taken."""
        await self._redis.lpush(keys.WAKE, "1")

    async def take(self, worker_id: str, agents: list[str], count: int) -> list[QueueEntry]:
        """Lease up to `count` visible entries of these agents: those of the tenants whose turn it is, of each the
        oldest."""
        flat = await self._take(PLACES, (worker_id, count, self._max_running, ANY_LANE, *agents))
        return [_entry(name.decode(), payload) for name, payload in zip(flat[::2], flat[1::2], strict=True)]

    async def put_back(
        self, worker_id: str, entry: QueueEntry, *, delivery: int, delay_s: float = 0, asking: bool = False
    ) -> bool:
        """Put a leased entry back with this delivery number; without a delay as the next one of its tenant.

        `asking`: its job waits for a person. Returns False where the worker no longer leases it."""
        given = (worker_id, entry.id, delivery, int(delay_s * 1_000_000), self._max_running, int(asking))
        return bool(await self._put_back(PLACES, given))

    async def guess(self, entry: QueueEntry) -> Guess | None:
        """Return from which worker the entry was taken on a guess, less than a lease ago; None without one."""
        key = keys.GUESSED + entry.id
        worker = await self._redis.get(key)  # no transaction: Redis refuses to queue commands at maxmemory
        return None if worker is None else Guess(worker.decode(), max(await self._redis.pttl(key), 0) / 1000)

    async def pause(self, worker_id: str, paused: Collection[str], resumed: Collection[str]) -> set[str]:
        """Record which entries take no slot any more, since their jobs wait for a person, and which take one
        again. Returns those that the worker does not lease, which are ignored."""
        lost = await self._pause(PLACES, (worker_id, self._max_running, len(paused), *paused, *resumed))
        return {name.decode() for name in lost}

    async def drop(self, worker_id: str, entry: QueueEntry) -> bool:
        """Drop a leased entry, whose job has ended. Returns False where the worker no longer leases it."""
        limits = self._max_running, self._settings.tenant_webhook_limit
        reply = int(await self._drop(PLACES, (worker_id, entry.id, *limits)))
        if reply == WEBHOOK_REFUSED:
            refused_webhooks.note(entry.id, "ended")
        return bool(reply)

    async def retire(self, session_id: str, job_ids: Sequence[str]) -> None:
        """Drop the entries of jobs that ended while they waited."""
        entries = [entry_id(session_id, job_id) for job_id in job_ids]
        for refused in await self._retire(PLACES, (self._settings.tenant_webhook_limit, *entries)):
            refused_webhooks.note(refused.decode(), "ended")

    async def recovery_page(self, page_s: float, first_round_page_s: float) -> tuple[int, int] | None:
        """Return the page of log server keys to search now for jobs without an entry: its cursor, and the number of
        completed rounds. None where a worker took one less than `page_s` ago.

        On an emptied queue the first round starts, with pages `first_round_page_s` apart."""
        limits = int(page_s * 1000), int(first_round_page_s * 1000)
        answer = await self._recovery_turn(PLACES, limits)
        return (int(answer[0]), int(answer[1])) if answer else None

    async def page_searched(self, cursor: int) -> None:
        """Record that a page was searched. `cursor`: that of the next page, 0 at the end of a round."""
        await self._recovery_advance(PLACES, (cursor,))

    async def lost(self, entries: Sequence[JobRef]) -> list[JobRef]:
        """Return those of the entries that the queue lacks."""
        if not entries:
            return []
        known = await self._redis.hmget(keys.ENTRIES, [entry.id for entry in entries])
        return [entry for entry, payload in zip(entries, known, strict=True) if payload is None]

    async def restore(self, entries: Sequence[JobRef], delay_s: float = 0) -> int:
        """Create lost entries again, visible after a delay. Returns how many were created."""
        if not entries:
            return 0
        flat = [part for entry in entries for part in (entry.id, _payload(*entry))]
        return int(await self._restore(PLACES, (int(delay_s * 1_000_000), *flat)))


def _payload(
    session_id: str, job_id: str | None, agent: str, delivery: int = 1, *, webhook: bool | None = None
) -> bytes:
    """Return the payload of an entry. An entry that is created again claims a webhook: the record of its job tells."""
    claims = job_id is not None if webhook is None else webhook
    named, made_at = {"v": SCHEMA} | ({"w": 1} if claims else {}), int(time.time() * 1000)
    return serialize_job(agent, (session_id, job_id), named, delivery, made_at, serializer=orjson.dumps)


def payload_of(entry: QueueEntry) -> bytes:
    """Return the payload from which the entry can be created again."""
    return _payload(entry.session_id, entry.job_id, entry.agent, entry.delivery)


def _entry(name: str, payload: bytes) -> QueueEntry:
    """Parse an entry. Where the payload is unreadable, the entry's name identifies the job, and the delivery number is
    found in the payload as the scripts find it."""
    session_id, _, job_id = name.rpartition("/")
    try:
        agent, _, named, delivery, made_at = deserialize_job_raw(payload, deserializer=orjson.loads)
        schema = int(named.get("v", 0))
        return QueueEntry(session_id, job_id or None, str(agent), int(delivery), int(made_at), schema, "w" in named)
    except (DeserializationError, AttributeError, TypeError, ValueError):
        matched = _DELIVERY.search(payload)
        return QueueEntry(session_id, job_id or None, ANY_LANE, int(matched[1]) if matched else 1, 0)
