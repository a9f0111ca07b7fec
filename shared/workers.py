"""The workers of a deployment, as their heartbeats describe them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple, TypedDict

import orjson
from holdfast.shared import keys
from holdfast.shared.redis.client import Redis

MOST_AGENTS = 100
MOST_JOBS = 100
HOST_CHARACTERS = 40  # of the name of a worker's host, with which its id begins


class Status(TypedDict, total=False):
    """What a worker stores with each heartbeat, as JSON. Workers of another version may lack fields.

    `pid`: the id of its process, on its machine. `started_at`: in ms since 1970. `slots`: how many jobs it runs at a
    time. `deltas`, `attempts`, `first_tokens`: how many since its start; `first_token_s`: the sum of the times from the
    start of an attempt to its first delta."""

    version: str
    pid: int
    started_at: int
    agents: list[str]
    slots: int
    draining: bool
    deltas: int
    attempts: int
    first_tokens: int
    first_token_s: float


class RegisteredWorker(NamedTuple):
    """A worker. `beat_at`: its latest heartbeat in ms since 1970; None of a worker without a status, an older version.
    `jobs`: the ids of its queue entries, at most MOST_JOBS of `job_count`."""

    worker_id: str
    beat_at: int | None
    status: Status
    jobs: list[str]
    job_count: int


class WorkersPage(NamedTuple):
    """Workers in the order of their ids. `more`: the worker after which the next page begins; None on the last."""

    workers: list[RegisteredWorker]
    more: str | None


class WorkerList:
    """Reads the workers from the queue server. Every call raises RedisError."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def page(self, behind: str, count: int) -> WorkersPage:
        """Return at most `count` workers after the one with this id; "" for the first page."""
        known = sorted(name.decode() for name in await self._redis.hkeys(keys.WORKERS))
        rest = [name for name in known if name > behind]
        page = rest[:count]
        return WorkersPage(await self._read(page) if page else [], page[-1] if len(rest) > count else None)

    async def has(self, worker_id: str) -> bool:
        return bool(await self._redis.hexists(keys.WORKERS, worker_id))

    async def of_process(self, host: str, pid: int) -> str | None:
        """Return the worker that is, or was, a process of a machine. A worker's id begins with its host's name."""
        for name, stored in (await self._redis.hgetall(keys.STATUSES)).items():
            if name.startswith(f"{host[:HOST_CHARACTERS]}-".encode()) and _status(stored)[1].get("pid") == pid:
                return str(name, "ascii")
        return None

    async def statuses(self) -> list[Status]:
        """Return the statuses of all workers."""
        return [_status(stored)[1] for stored in (await self._redis.hgetall(keys.STATUSES)).values()]

    async def _read(self, worker_ids: Sequence[str]) -> list[RegisteredWorker]:
        stored = await self._redis.hmget(keys.STATUSES, worker_ids)
        leased = await asyncio.gather(*(self._redis.smembers(keys.LEASED + worker_id) for worker_id in worker_ids))
        return [_worker(*each) for each in zip(worker_ids, stored, leased, strict=True)]


def status_json(status: Status) -> bytes:
    """Encode a status as `Leases.beat` takes it."""
    return orjson.dumps(status)


def _worker(worker_id: str, stored: bytes | None, leased: Sequence[bytes]) -> RegisteredWorker:
    beat_at, status = _status(stored)
    entries = sorted(name.decode() for name in leased)
    jobs = [name for name in entries if not name.endswith("/")]  # without control entries
    return RegisteredWorker(worker_id, beat_at, status, jobs[:MOST_JOBS], len(jobs))


def _status(stored: bytes | None) -> tuple[int | None, Status]:
    """Parse what beat.lua stores: the time, a space and the status."""
    if stored is None:
        return None, {}
    beat_at, _, status = stored.partition(b" ")
    parsed: Status = orjson.loads(status)
    return int(beat_at), parsed
