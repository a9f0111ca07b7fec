"""Some thousand random operations on a session, on a real server, beside a plain model of what must be there."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import orjson
import pytest
from holdfast.shared.errors import Fenced, IdempotencyMismatch, LogGone, QueueFull, SessionBusy
from holdfast.shared.ids import ORIGIN
from holdfast.shared.log.event_log import chained
from holdfast.shared.log.log_replies import Attempt, Event, LogBehind

from tests.support.log import Session, delta

STEPS = 2500
MAX_ATTEMPTS = 3
BACKLOG_LIMIT = 6
MAX_OVERTAKES = 10  # as in submit.lua


@dataclass
class Job:
    status: str = "queued"
    delivery: int = 0
    attempts: int = 0
    strikes: int = 0
    open: bool = False
    cancelled: bool = False
    interrupting: bool = False
    overtakes: int = 0

    @property
    def supersedable(self) -> bool:
        return self.interrupting and not self.attempts and not self.cancelled


@dataclass
class Model:
    """What the session must hold: the jobs, the line, the texts in their order, who holds it."""

    jobs: dict[str, Job] = field(default_factory=dict)
    line: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    ends: list[tuple[str, str]] = field(default_factory=list)
    keys: dict[str, tuple[str, str]] = field(default_factory=dict)
    owner: Attempt | None = None
    seq: int = 0

    def end(self, job_id: str, status: str) -> None:
        self.jobs[job_id].status = status
        self.jobs[job_id].open = False
        self.line.remove(job_id)
        self.ends.append((job_id, status))
        if self.owner is not None and self.owner.job_id == job_id:
            self.released = True

    released: bool = False

    @property
    def held(self) -> bool:
        return self.owner is not None and not self.released

    def may_write(self, attempt: Attempt) -> bool:
        return self.owner is not None and attempt.epoch == self.owner.epoch


class Run:
    """One random run. Each operation does its thing on the session and says what the model expects of it."""

    def __init__(self, session: Session, seed: int) -> None:
        self.session = session
        self.random = random.Random(seed)
        self.model = Model()
        self.attempts: list[Attempt] = []  # all that ever were: zombies write too
        self.last_batch: tuple[Attempt, int, list[Event]] | None = None
        self.numbers = itertools.count()

    async def step(self) -> None:
        operations = {
            self.submit: 10,
            self.claim: 12,
            self.append: 30,
            self.append_again: 10,
            self.append_with_a_hole: 3,
            self.zombie: 8,
            self.finish: 6,
            self.finish_a_cancelled_one: 4,
            self.cancel: 4,
            self.settle: 4,
            self.release: 3,
        }
        operation = self.random.choices(list(operations), list(operations.values()))[0]
        await operation()

    async def submit(self) -> None:
        job_id, model = f"j{next(self.numbers)}", self.model
        on_busy = self.random.choice(["queue", "queue", "reject", "interrupt"])
        key = self.random.choice([None, None, f"k{self.random.randrange(40)}"])
        digest = self.random.choice("ab")
        call = self.session.submit(job_id, on_busy=on_busy, idempotency_key=key, digest=digest)
        if key in model.keys and model.keys[key][1] != digest:
            with pytest.raises(IdempotencyMismatch):
                await call
        elif key in model.keys:
            done = await call
            assert (done.job_id, done.replayed) == (model.keys[key][0], True)
        elif on_busy == "reject" and model.line:
            with pytest.raises(SessionBusy):
                await call
        elif len(model.line) >= BACKLOG_LIMIT:
            with pytest.raises(QueueFull):
                await call
        else:
            done = await call
            self.accept(job_id, on_busy, key, digest)
            assert (done.replayed, done.position) == (False, model.line.index(job_id))

    def accept(self, job_id: str, on_busy: str, key: str | None, digest: str) -> None:
        model = self.model
        model.jobs[job_id] = Job(interrupting=on_busy == "interrupt")
        if key is not None:
            model.keys[key] = (job_id, digest)
        if on_busy == "interrupt" and model.line:
            self.interrupt(job_id)
        else:
            model.line.append(job_id)

    def interrupt(self, job_id: str) -> None:
        """Cancel the head and the interrupting job that has not started, whose place the new one takes."""
        line, jobs = self.model.line, self.model.jobs
        running, place = jobs[line[0]], 1
        pending = [waits for waits in line if jobs[waits].supersedable]
        assert len(pending) <= 1
        if pending:
            older = jobs[pending[0]]
            place, jobs[job_id].overtakes, older.cancelled = max(line.index(pending[0]), 1), older.overtakes, True
        elif len(line) > 1:
            jobs[job_id].overtakes = running.overtakes + 1
            if jobs[job_id].overtakes > MAX_OVERTAKES:
                waiting = (at for at in range(1, len(line)) if not jobs[line[at]].cancelled)
                place, jobs[job_id].overtakes = next(waiting, 0) + 1, 0
        running.cancelled = True
        line.insert(place, job_id)

    async def claim(self) -> None:
        model = self.model
        if not model.jobs:
            return
        job_id = self.random.choice(model.line or list(model.jobs))
        job = model.jobs[job_id]
        delivery = job.delivery + self.random.choice([0, 1, 1, 1, 2])
        claimed = await self.session.try_claim(job_id, delivery=delivery)
        verdict = "run" if isinstance(claimed, Attempt) else claimed.verdict
        assert verdict == self.expected_claim(job_id, delivery)
        if isinstance(claimed, Attempt):
            job.strikes += job.open
            job.delivery, job.open, job.status = delivery, True, "running"
            job.attempts += 1
            assert claimed.number == job.attempts
            self.hold(claimed)
        elif verdict == "ended" and job_id in model.line:
            model.owner = None
            model.end(job_id, "cancelled" if job.cancelled else "failed")

    def expected_claim(self, job_id: str, delivery: int) -> str:
        job = self.model.jobs[job_id]
        if job_id not in self.model.line:
            return "ended"
        if self.model.line[0] != job_id:
            return "wait"
        if delivery <= job.delivery:
            return "stale"
        dead = job.strikes + job.open >= MAX_ATTEMPTS
        return "ended" if job.cancelled or dead else "run"

    def hold(self, attempt: Attempt) -> None:
        assert all(attempt.epoch > other.epoch for other in self.attempts)
        self.attempts.append(attempt)
        self.model.owner, self.model.released, self.model.seq = attempt, False, 1
        self.last_batch = None

    async def append(self) -> None:
        if not self.model.held or self.model.owner is None:
            return
        attempt = self.model.owner
        texts = [f"t{next(self.numbers)}" for _ in range(self.random.randint(1, 5))]
        events = [delta(attempt.job_id, text) for text in texts]
        self.last_batch = (attempt, self.model.seq, events)
        done = await self.session.log_writer.append("s", attempt.epoch, self.model.seq, events)
        self.model.texts += texts
        self.model.seq += len(texts)
        assert done.seq == self.model.seq

    async def append_again(self) -> None:
        """The reply was lost: the same call once more changes nothing, and is refused behind the job's end."""
        if self.last_batch is None or not self.model.may_write(self.last_batch[0]):
            return
        attempt, after, events = self.last_batch
        call = self.session.log_writer.append("s", attempt.epoch, after, events)
        if self.model.held:
            assert (await call).seq == self.model.seq
        else:
            with pytest.raises(Fenced):
                await call

    async def append_with_a_hole(self) -> None:
        if not self.model.held or self.model.owner is None:
            return
        attempt = self.model.owner
        with pytest.raises(LogBehind):
            await self.session.log_writer.append(
                "s", attempt.epoch, self.model.seq + self.random.randint(1, 9), [delta(attempt.job_id, "hole")]
            )

    async def zombie(self) -> None:
        """Every write of an attempt that does not hold the session any more is refused."""
        zombies = [attempt for attempt in self.attempts if not self.model.may_write(attempt)]
        if not zombies:
            return
        attempt = self.random.choice(zombies)
        with pytest.raises((Fenced, LogGone)):
            await self.write_as(attempt)

    async def write_as(self, attempt: Attempt) -> None:
        match self.random.randrange(4):
            case 0:
                await self.session.append(attempt, self.random.randint(1, 20), "zombie")
            case 1:
                await self.session.finish(attempt, self.random.randint(1, 20))
            case 2:
                await self.session.log_writer.intents("s", attempt.epoch)
            case _:
                await self.session.log_writer.release("s", attempt.epoch)

    async def finish(self) -> None:
        model = self.model
        if not model.held or model.owner is None:
            return
        attempt = model.owner
        done = await self.session.finish(attempt, model.seq)
        assert done.seq == model.seq + 1
        if self.random.random() < 0.3:  # the reply was lost
            assert await self.session.finish(attempt, model.seq) == done
        model.seq += 1
        model.end(attempt.job_id, "completed")
        assert (done.head.job_id if done.head else None) == (model.line[0] if model.line else None)

    async def finish_a_cancelled_one(self) -> None:
        """The lease owner ends the cancelled jobs that wait behind its own."""
        model = self.model
        if not model.held or model.owner is None:
            return
        intents = await self.session.log_writer.intents("s", model.owner.epoch)
        assert set(intents.cancel) == {job_id for job_id in model.line if model.jobs[job_id].cancelled}
        for job_id in [job_id for job_id in intents.cancel if job_id != model.owner.job_id]:
            body = orjson.dumps({"type": "job.cancelled", "job_id": job_id, "by": "user"})
            event = Event("job.cancelled", job_id, body)
            await self.session.log_writer.finish("s", model.owner.epoch, model.seq, event, messages=[], usage=b"")
            model.seq += 1
            model.end(job_id, "cancelled")

    async def cancel(self) -> None:
        if self.model.line:
            job_id = self.random.choice(self.model.line)
            await self.session.sessions.cancel("s", job_id)
            self.model.jobs[job_id].cancelled = True

    async def settle(self) -> None:
        model = self.model
        doomed = [job_id for job_id in model.line if model.jobs[job_id].cancelled]
        settled = await self.session.log_writer.settle("s")
        assert settled.held == bool(doomed and model.held)
        if doomed and not settled.held:
            model.owner = None
            for job_id in doomed:
                model.end(job_id, "cancelled")

    async def release(self) -> None:
        model = self.model
        if not model.held or model.owner is None:
            return
        await self.session.log_writer.release("s", model.owner.epoch)
        job = model.jobs[model.owner.job_id]
        job.status, job.open = "queued", False
        model.owner = None

    async def check(self) -> None:
        model, session = self.model, self.session
        if not model.jobs:
            return
        entries = (await session.log.read("s", ORIGIN, 10_000)).entries
        assert chained(ORIGIN, entries) == len(entries)
        bodies = [orjson.loads(entry.body) for entry in entries]
        assert [body["text"] for body in bodies if body["type"] == "text.delta"] == model.texts
        ends = [(body["job_id"], body["type"][4:]) for body in bodies if body["type"] in ENDS]
        assert ends == model.ends
        state = await session.sessions.session("s")
        assert state.backlog == model.line
        assert state.jobs == list(model.jobs)
        jobs = (await session.sessions.jobs("s", None, 1000)).jobs
        assert {job.job_id: job.status for job in jobs} == {k: job.status for k, job in model.jobs.items()}
        assert state.cursor == (entries[-1].id if entries else ORIGIN)
        ttls = {await session.redis.ttl(key) for key in session.keys if await session.redis.exists(key)}
        assert ttls == {-1} if model.line else all(ttl > 0 for ttl in ttls)


ENDS = {"job.completed", "job.failed", "job.cancelled"}


@pytest.mark.parametrize("seed", range(4))
async def test_random_operations_leave_what_the_model_says(open_session: Callable[..., Session], seed: int) -> None:
    run = Run(open_session(max_attempts=MAX_ATTEMPTS, session_backlog_limit=BACKLOG_LIMIT), seed)
    for step in range(STEPS):
        await run.step()
        if step % 25 == 0:
            await run.check()
    await run.check()
    assert len(run.model.ends) > 50
