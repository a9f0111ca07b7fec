"""Agents that take their process along, each in its own way, for workers with this module in HOLDFAST_AGENTS."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import resource
import secrets
from typing import Any

from holdfast.shared.keys import session_keys
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.redis.log_connections import connect_logs
from holdfast.worker import Run, agent

RUNS = "test:runs:"  # prefix of a set for each job: the runs of its steps


@agent
async def exits(run: Run) -> None:
    """Ends the process without a word."""
    await run.text("so far ")
    await run.flush()
    os._exit(3)


@agent
async def crashes(run: Run) -> None:
    """Reads where nothing is."""
    await run.text("so far ")
    await run.flush()
    ctypes.string_at(0)


@agent
async def devours(run: Run) -> None:
    """Takes all the memory that it may have, and more, until the process cannot go on."""
    await run.text("so far ")
    await run.flush()
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    try:
        hoard = [bytearray(1 << 26) for _ in range(1 << 10)]
        run.metadata["hoard"] = hoard
    except MemoryError:
        os.abort()  # as the kernel would do it


@agent
async def bystander(run: Run) -> None:
    """Does its own work beside such a job."""
    for number in range(int(run.options.get("tokens", 40))):
        await run.text(f"w{number} ")
        await asyncio.sleep(0.05)


class Runs:
    """Notes on the log server each time that a step of a job is run, and whether the job's attempt had it recorded.

    Waits while the server is away."""

    def __init__(self, run: Run) -> None:
        url = os.environ.get("HOLDFAST_LOG_REDIS_URL") or os.environ["HOLDFAST_REDIS_URL"]
        self._logs = connect_logs(url, max_connections=4, deadline_s=10)
        self._redis = self._logs.servers[0].redis
        self._run = run

    async def note(self, idempotency_key: str) -> None:
        run, step = self._run, idempotency_key.partition(":")[2]
        keys = session_keys(run.session_id)
        recorded = await self._retry("HEXISTS", keys.journal, f"step:{step}")
        # A worker that was frozen runs on until it finds out that its job was taken over: that is no second run.
        current = await self._retry("HGET", keys.jobs, f"{run.job_id}:attempt")
        wrong = int(recorded and int(current) == run.attempt)
        line = f"{step} {run.attempt} {secrets.token_hex(4)} {wrong}"
        await self._retry("SADD", RUNS + run.job_id, line)

    async def _retry(self, *command: str) -> Any:
        while True:
            try:
                return await self._redis.call(*command)
            except RedisError:
                await asyncio.sleep(0.05)

    async def aclose(self) -> None:
        await self._logs.aclose()


@agent
async def climbs(run: Run) -> dict[str, int]:
    """Completes steps one by one. In each, sub-agents speak side by side; texts are split in another way each time. A
    step inside each rest fails; within it and after it there are two chains of steps side by side."""
    runs, pause_s = Runs(run), int(run.options.get("interval_ms", 10)) / 1000

    async def climb(number: int, *, idempotency_key: str) -> int:
        await runs.note(idempotency_key)
        await asyncio.gather(*(run.agent(helper).text(f"{number} ") for helper in ("left", "right")))
        async with run.section(f"Step {number}"), run.tool("climb", {"number": number}) as call:
            await asyncio.sleep(pause_s)
            call.result = number
        await run.usage(1, 1, "none")
        return number

    try:
        for number in range(int(run.options.get("steps", 5))):
            await run.text(f"to {number}: ")
            await run.step("climb", climb, number)
            for piece in ("do", "ne. ") if run.attempt % 2 else ("don", "e", ". "):
                await run.text(piece)
                await asyncio.sleep(pause_s)
            async with run.section(f"Rest {number}", checkpoint=True):
                await _rest(run, number, pause_s)
            await _chains(run, number, pause_s)
    finally:
        await runs.aclose()
    return {"attempt": run.attempt}


async def _rest(run: Run, number: int, pause_s: float) -> None:
    async def slip() -> None:
        await run.agent("left").text(f"slip {number} ")
        raise ValueError(number)

    await run.text(f"Rested from {number}. ")
    with contextlib.suppress(ValueError):
        await run.step("slip", slip)
    await _chains(run, number, pause_s)


async def _chains(run: Run, number: int, pause_s: float) -> None:
    """Complete two chains of steps side by side."""

    async def chain(name: str, paces: tuple[int, int]) -> None:
        for pace in paces:
            await run.step("link", asyncio.sleep, pause_s / pace, f"{number} {name}")

    await asyncio.gather(chain("a", (1, 4)), chain("b", (2, 3)))


def climbed(steps: int) -> dict[str | None, str]:
    """What `climbs` says, by who says it."""
    right = "".join(f"{number} " for number in range(steps))
    left = "".join(f"{number} slip {number} " for number in range(steps))
    own = "".join(f"to {number}: done. Rested from {number}. " for number in range(steps))
    return {None: own, "left": left, "right": right}
