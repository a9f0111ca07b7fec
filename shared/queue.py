"""The queue: one token for every job that has no end yet, in arq's payload format as JSON.

A token is made before its job is accepted and dropped after the job's end is in the log. Whatever crashes in between,
the token comes due, a worker takes it and asks the log, which alone knows what is to be done. A nudge is a token
without a job: a worker shall look at what is asked of the session.
"""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson
from arq.jobs import DeserializationError, deserialize_job_raw, serialize_job
from holdfast.shared import keys
from holdfast.shared.errors import AgentUnknown, NoAgents, QueueFull
from holdfast.shared.redis import Redis
from holdfast.shared.schema import SCHEMA
from holdfast.shared.scripts import script
from holdfast.shared.settings import CommonSettings

PLACES = (
    keys.TOKENS,
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
)
ANY_LANE = "*"
RESERVE_US = 5_000_000
AGENTS_MEMORY_US = 7 * 86_400 * 1_000_000
MAILBOX_LIMIT = 1000
MAILBOX_SECONDS = 60

_DELIVERY = re.compile(rb'"t":(\d+)')


@dataclass(frozen=True, slots=True)
class Token:
    """A leased token. `job_id` is None for a nudge, `made_at` in ms since 1970 by the clock of who made it. `schema` is
    the version in which it was written."""

    session_id: str
    job_id: str | None
    agent: str
    delivery: int
    made_at: int
    schema: int = SCHEMA

    @property
    def id(self) -> str:
        return token_id(self.session_id, self.job_id)


class JobEntry(NamedTuple):
    """What the entry of a job is made of."""

    session_id: str
    job_id: str
    agent: str

    @property
    def id(self) -> str:
        return token_id(self.session_id, self.job_id)


class Page(NamedTuple):
    """The page of log server keys that is to be searched for jobs without an entry. `rounds` were completed before."""

    cursor: int
    rounds: int


class Ring(NamedTuple):
    """What a worker hears: a token is ready, or something is asked of the holder of `session_id`."""

    session_id: str | None


def token_id(session_id: str, job_id: str | None) -> str:
    return f"{session_id}/{job_id or ''}"


class Queue:
    """The queue server. Every call raises RedisError when the server does not answer, and may be repeated as it was."""

    def __init__(self, redis: Redis, settings: CommonSettings) -> None:
        self._redis = redis
        self._settings = settings
        self._reserve = script(redis, "queue_reserve", "queue")
        self._ready = script(redis, "queue_ready", "queue")
        self._notify = script(redis, "queue_notify", "queue")
        self._take = script(redis, "queue_take", "queue")
        self._beat = script(redis, "queue_beat", "queue")
        self._put_back = script(redis, "queue_put_back", "queue")
        self._drop = script(redis, "queue_drop", "queue")
        self._discard = script(redis, "queue_discard", "queue")
        self._take_over = script(redis, "queue_take_over", "queue")
        self._sweep = script(redis, "queue_sweep", "queue")
        self._retire = script(redis, "queue_retire", "queue")
        self._retake = script(redis, "queue_retake", "queue")
        self._restore = script(redis, "queue_restore", "queue")
        self._recovery_turn = script(redis, "queue_recovery_turn", "queue")
        self._recovery_advance = script(redis, "queue_recovery_advance", "queue")

    # What a gateway does.

    async def reserve(self, session_id: str, job_id: str, agent: str) -> None:
        """Make the token of a job that is about to be accepted, due in 5 s.

        Raises AgentUnknown, NoAgents when no agent at all is on offer, QueueFull."""
        limits = (RESERVE_US, self._settings.queue_limit, agent, AGENTS_MEMORY_US)
        token = token_id(session_id, job_id)
        answer = await self._reserve(PLACES, (token, _payload(session_id, job_id, agent), *limits))
        if answer == b"none":
            raise NoAgents
        if answer == b"unknown":
            raise _unknown(agent)
        if answer == b"full":
            raise QueueFull

    async def discard(self, session_id: str, job_id: str, agent: str) -> None:
        """Drop the token of a job that was refused."""
        await self._discard(PLACES, (token_id(session_id, job_id), agent))

    async def ready(self, session_id: str, job_id: str, agent: str) -> None:
        """See that the job's token is due now, and wake a worker for it."""
        await self._ready(PLACES, (token_id(session_id, job_id), _payload(session_id, job_id, agent), 0))

    async def nudge(self, session_id: str, delay_s: float = 0) -> None:
        """See that a worker looks at what is asked of the session."""
        payload = _payload(session_id, None, ANY_LANE)
        await self._ready(PLACES, (token_id(session_id, None), payload, int(delay_s * 1_000_000)))

    async def notify(self, worker_id: str, session_id: str) -> None:
        """Tell the worker that holds the session to look at what is asked of it. The message may be lost."""
        await self._notify(PLACES, (worker_id, session_id, MAILBOX_LIMIT, MAILBOX_SECONDS))

    async def agents(self) -> dict[str, dict[str, Any]]:
        """The agents on offer with the JSON schema of their input, remembered for 7 days."""
        oldest = await self._now_us() - AGENTS_MEMORY_US
        names = await self._redis.zrangebyscore(keys.AGENTS_SEEN, oldest, "+inf")
        if not names:
            return {}
        schemas = await self._redis.hmget(keys.AGENTS, names)
        offers = sorted(zip(names, schemas, strict=True))
        return {name.decode(): orjson.loads(schema) for name, schema in offers if schema is not None}

    async def schema(self, agent: str) -> bytes:
        """The JSON schema of an agent's input. Raises AgentUnknown, and NoAgents when no agent at all is on offer."""
        schema: bytes | None = await self._redis.hget(keys.AGENTS, agent)
        if schema is None:
            raise _unknown(agent) if await self._redis.exists(keys.AGENTS) else NoAgents
        return schema

    async def depth(self) -> int:
        """How many jobs have no end yet, nudges counted with them."""
        return int(await self._redis.hlen(keys.TOKENS))

    # What a worker does.

    async def offer(self, agents: dict[str, dict[str, Any]]) -> None:
        """Announce the agents that this worker offers, and forget those that nobody has offered for 7 days."""
        now = await self._now_us()
        forgotten = await self._redis.zrangebyscore(keys.AGENTS_SEEN, "-inf", now - AGENTS_MEMORY_US)
        async with self._redis.pipeline(transaction=True) as pipeline:
            if forgotten:
                pipeline.zrem(keys.AGENTS_SEEN, *forgotten)
                pipeline.hdel(keys.AGENTS, *forgotten)
            pipeline.zadd(keys.AGENTS_SEEN, dict.fromkeys(agents, now))
            pipeline.hset(keys.AGENTS, mapping={name: orjson.dumps(schema) for name, schema in agents.items()})
            await pipeline.execute()

    async def wait(self, worker_id: str, timeout_s: float, *, idle: bool) -> Ring | None:
        """Wait for a wake-up or a message. Only an `idle` worker hears wake-ups, so that a busy one takes none from it.
        Give it a connection whose timeout is longer."""
        places = [keys.MAILBOX + worker_id, keys.WAKE] if idle else [keys.MAILBOX + worker_id]
        found = await self._redis.blpop(places, timeout=timeout_s)
        if found is None:
            return None
        return Ring(None if found[0] == keys.WAKE.encode() else found[1].decode())

    async def wake(self) -> None:
        """Pass a wake-up on that came when there was no free slot any more."""
        await self._redis.lpush(keys.WAKE, "1")

    async def take(self, worker_id: str, agents: list[str], count: int) -> list[Token]:
        """Lease up to `count` of the oldest ready tokens of these agents."""
        flat = await self._take(PLACES, (worker_id, count, ANY_LANE, *agents))
        return [_token(name.decode(), payload) for name, payload in zip(flat[::2], flat[1::2], strict=True)]

    async def put_back(self, worker_id: str, token: Token, *, delivery: int, delay_s: float = 0) -> bool:
        """Give a leased token back, for the given delivery. False when it was not leased any more."""
        return bool(await self._put_back(PLACES, (worker_id, token.id, delivery, int(delay_s * 1_000_000))))

    async def drop(self, worker_id: str, token: Token) -> bool:
        """Drop a leased token, whose job has ended. False when it was not leased any more."""
        return bool(await self._drop(PLACES, (worker_id, token.id)))

    async def retire(self, session_id: str, job_ids: Sequence[str]) -> None:
        """Drop the queue entries of jobs that ended while they waited."""
        await self._retire(PLACES, [token_id(session_id, job_id) for job_id in job_ids])

    async def beat(self, worker_id: str) -> set[str]:
        """Count the worker's heart one up. Answers the ids of the tokens that it leases."""
        return {name.decode() for name in await self._beat(PLACES, (worker_id,))}

    async def retake(self, worker_id: str, tokens: Sequence[Token]) -> set[str]:
        """Lease tokens again whose lease the queue lost. Answers the ids of those that another worker has."""
        flat = [part for token in tokens for part in (token.id, _payload_of(token))]
        return {name.decode() for name in await self._retake(PLACES, (worker_id, *flat))}

    async def recovery_page(self, page_s: float, first_round_page_s: float) -> Page | None:
        """The page to search now; None when a worker took one less than `page_s` ago. An emptied queue begins anew."""
        limits = int(page_s * 1000), int(first_round_page_s * 1000)
        answer = await self._recovery_turn(PLACES, limits)
        return Page(int(answer[0]), int(answer[1])) if answer else None

    async def page_searched(self, cursor: int) -> None:
        """Note that a page was searched, and the cursor of the next one, 0 at the end of a round."""
        await self._recovery_advance(PLACES, (cursor,))

    async def lost(self, entries: Sequence[JobEntry]) -> list[JobEntry]:
        """Those of the entries that the queue does not have."""
        if not entries:
            return []
        known = await self._redis.hmget(keys.TOKENS, [entry.id for entry in entries])
        return [entry for entry, payload in zip(entries, known, strict=True) if payload is None]

    async def restore(self, entries: Sequence[JobEntry], delay_s: float = 0) -> int:
        """Make lost entries anew, visible after a delay. Answers how many were made."""
        if not entries:
            return 0
        flat = [part for entry in entries for part in (entry.id, _payload(*entry))]
        return int(await self._restore(PLACES, (int(delay_s * 1_000_000), *flat)))

    async def workers(self) -> dict[str, int]:
        """Each worker's count of heartbeats."""
        counts = await self._redis.hgetall(keys.WORKERS)
        return {name.decode(): int(count) for name, count in counts.items()}

    async def take_over(self, worker_id: str, count: int) -> int | None:
        """Make a dead worker's tokens ready again, unless its count has moved. Answers how many, None when it has."""
        moved = int(await self._take_over(PLACES, (worker_id, count)))
        return None if moved < 0 else moved

    async def sweep(self) -> None:
        """See that jobs which waited too long are ended by any worker, though none offers their agent."""
        await self._sweep(PLACES, (self._settings.queue_seconds * 1_000_000,))

    async def leave(self, worker_id: str) -> None:
        """Sign a worker off that leases nothing any more; what it leases after all is made ready again."""
        counts = await self.workers()
        if worker_id in counts:
            await self.take_over(worker_id, counts[worker_id])

    async def _now_us(self) -> int:
        seconds, micros = await self._redis.time()
        return int(seconds) * 1_000_000 + int(micros)


def _unknown(agent: str) -> AgentUnknown:
    return AgentUnknown(f"agent: no worker offers {agent!r}; GET /v1/agents lists those on offer")


def _payload(session_id: str, job_id: str | None, agent: str, delivery: int = 1) -> bytes:
    version, made_at = {"v": SCHEMA}, int(time.time() * 1000)
    return serialize_job(agent, (session_id, job_id), version, delivery, made_at, serializer=orjson.dumps)


def _payload_of(token: Token) -> bytes:
    return _payload(token.session_id, token.job_id, token.agent, token.delivery)


def _token(name: str, payload: bytes) -> Token:
    """Read a token. One with a payload that nobody can read still says by its name which job it stands for, and by
    what the scripts find in it which delivery it is."""
    session_id, _, job_id = name.partition("/")
    try:
        agent, _, named, delivery, made_at = deserialize_job_raw(payload, deserializer=orjson.loads)
        schema = int(named.get("v", 0))
        return Token(session_id, job_id or None, str(agent), int(delivery), int(made_at), schema)
    except (DeserializationError, AttributeError, TypeError, ValueError):
        told = _DELIVERY.search(payload)
        return Token(session_id, job_id or None, ANY_LANE, int(told[1]) if told else 1, 0)
