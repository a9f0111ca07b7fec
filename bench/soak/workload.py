"""The workload of a soak: sessions with random jobs and viewers at a steady rate, and one that lasts."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from bench.soak.client import Client
from bench.soak.deployment import SEND_DEADLINE_S, Deployment
from bench.soak.session import Job, Session
from bench.soak.tally import Tally
from tests.support.watcher import dismiss

EACH_S = 0.8
AT_ONCE = 60
VISIT_S = 180.0
LARGE_TOKENS = 3000
RESIDENT = {"tokens": 1000, "interval_ms": 50}


class Workload:
    """Starts sessions, with all random choices drawn from the seed. Errors are recorded in the tally."""

    def __init__(self, deployment: Deployment, client: Client, seed: int, tally: Tally) -> None:
        self._deployment = deployment
        self._client = client
        self._random = random.Random(seed)  # noqa: S311 - chance, not secrecy
        self._tally = tally
        self._visits: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    async def run(self, seconds: float) -> None:
        """Start sessions for `seconds`, every EACH_S on average, at most AT_ONCE at a time."""
        loop = asyncio.get_running_loop()
        end_s, number = loop.time() + seconds, 0
        self._begin("resident", self._stay)
        while loop.time() < end_s:
            if len(self._visits) <= AT_ONCE:
                number += 1
                self._begin(f"s{number}", self._visit)
            else:
                self._tally.postponed += 1
            await asyncio.sleep(self._random.uniform(0, 2 * EACH_S))

    async def wait(self) -> None:
        """Wait until all sessions have ended."""
        self._over.set()
        visits = tuple(self._visits)
        if visits:
            await asyncio.wait(visits)

    async def close(self) -> None:
        await dismiss(self._visits)

    def _begin(self, session_id: str, live: Callable[[Session, random.Random], Awaitable[None]]) -> None:
        seed = self._random.randrange(2**32)
        session = Session(self._deployment, self._client, session_id, seed, self._tally)
        chance = random.Random(seed)  # noqa: S311 - likewise
        task = asyncio.create_task(self._live(session, live, chance))
        self._visits.add(task)
        task.add_done_callback(self._visits.discard)

    async def _live(
        self, session: Session, live: Callable[[Session, random.Random], Awaitable[None]], chance: random.Random
    ) -> None:
        try:
            await live(session, chance)
        except Exception as error:  # noqa: BLE001 - the verdict has it, and the others go on
            self._tally.violations.append(f"{session.id}: {type(error).__name__}: {error}")
        finally:
            await session.close()

    async def _visit(self, session: Session, chance: random.Random) -> None:
        fate = chance.choices(["ended", "cancelled", "deleted while it ran"], [7, 1, 2])[0]
        async with asyncio.timeout(VISIT_S):
            jobs = [await session.post(**_options(chance)) for _ in range(chance.randint(1, 3))]
            await session.sign_in()
            _start_viewers(session, jobs, chance)
            await asyncio.sleep(chance.uniform(0.3, 2))
            if chance.random() < 0.4:
                session.watch("late", raw=False)
            if fate == "cancelled":
                await session.cancel(chance.choice(jobs))
            if fate != "deleted while it ran":
                await _to_the_end(session, jobs, chance)
            await session.delete()
        self._tally.fates[fate] += 1

    async def _stay(self, session: Session, chance: random.Random) -> None:
        """Run one job after another with two viewers until the soak ends."""
        job = await session.post(**RESIDENT)
        session.watch("resident")
        session.watch("resident", stay_s=30)
        while not self._over.is_set():
            ended = asyncio.create_task(session.ended())
            over = asyncio.create_task(self._over.wait())
            await asyncio.wait({ended, over}, return_when=asyncio.FIRST_COMPLETED)
            over.cancel()
            if not ended.done():
                await session.cancel(job)
            await ended
            await session.judge()
            job = await session.post(**RESIDENT)
        await session.delete()
        self._tally.fates["stayed"] += 1


def _options(chance: random.Random) -> dict[str, object]:
    """Return the options of a job: most are short, one in twenty is large."""
    tokens, interval_ms = chance.choices(
        [(chance.randint(1, 30), 10), (chance.randint(50, 150), 20), (LARGE_TOKENS, 0)], [50, 45, 5]
    )[0]
    options: dict[str, object] = {"tokens": tokens, "interval_ms": interval_ms, "tools": chance.randrange(3)}
    if chance.random() < 0.1:
        options["ask"] = "Go on?"
    if chance.random() < 0.05:
        options["fail_at"] = tokens // 2
    return options


async def _to_the_end(session: Session, jobs: list[Job], chance: random.Random) -> None:
    """Wait for all jobs. A large one also gets a viewer that never reads, until the gateway must have dropped it."""
    large = any(job.options["tokens"] == LARGE_TOKENS for job in jobs)
    if large:
        session.stare()
    await session.ended()
    await session.judge()
    await asyncio.sleep(SEND_DEADLINE_S + 2 if large else chance.uniform(0, 3))


def _start_viewers(session: Session, jobs: list[Job], chance: random.Random) -> None:
    """Start viewers, and answer questions."""
    for job in jobs:
        if "ask" in job.options:
            session.answer(job)
    session.watch("steady")
    if chance.random() < 0.6:
        session.watch("dropping", stay_s=1)
    if chance.random() < 0.15:
        session.watch("slow", slow=True)
    if chance.random() < 0.3:
        session.read(chance.choice(jobs))
