"""One session of a soak: jobs, viewers of all kinds, and its deletion; what its viewers were told is compared with its
log."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import Any

from holdfast.shared.ids import ORIGIN

from bench.soak.client import Client
from bench.soak.deployment import Deployment
from bench.soak.tally import Tally
from bench.soak.viewers import Books, SlowWatcher
from tests.support.history import History, Told, Transcript, final_log
from tests.support.process import until
from tests.support.streams import Deaf
from tests.support.watcher import Watcher, dismiss

TOLD_S = 60.0


@dataclass(frozen=True, slots=True)
class Job:
    """A job of the scripted agent and its options."""

    id: str
    options: dict[str, object]

    @property
    def text(self) -> str:
        """The expected text of the completed job."""
        tokens = self.options["tokens"]
        assert isinstance(tokens, int)
        return "".join(f"w{number} " for number in range(tokens))


class Session:
    """The parts of a session's life. Whoever has one closes it, which ends its viewers and adds to the tally."""

    def __init__(self, deployment: Deployment, client: Client, session_id: str, seed: int, tally: Tally) -> None:
        self.id = session_id
        self._deployment = deployment
        self._client = client
        self._random = random.Random(seed)  # noqa: S311 - chance, not secrecy
        self._headers: Mapping[str, str] = deployment.headers
        self._ticket = ""
        self._tally = tally
        self._history = History()
        self._watchers: list[Watcher] = []
        self._readers: list[tuple[Watcher, Job]] = []
        self._deaf: list[Deaf] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: set[asyncio.Task[None]] = set()

    async def post(self, **options: object) -> Job:
        job = Job(await self._client.post(self.id, options), options)
        self._history.accepted.add((self.id, job.id))
        self._tally.jobs += 1
        return job

    async def sign_in(self) -> None:
        """Get a ticket for the viewers that never read, and for half of the sessions' others."""
        self._ticket = await self._client.ticket(self.id)
        if self._random.random() < 0.5:
            self._headers = {"Authorization": f"Bearer {self._ticket}"}

    async def cancel(self, job: Job) -> None:
        await self._client.cancel(self.id, job.id)

    async def ended(self) -> None:
        """Wait until the session has no open job."""
        await self._client.ended(self.id)

    def answer(self, job: Job) -> None:
        """Answer the job's question as soon as it asks."""
        self._answers.add(self._begin(self._client.answer(self.id, job.id)))

    # Viewers.

    def watch(self, kind: str, *, raw: bool = True, stay_s: float | None = None, slow: bool = False) -> None:
        """Start a viewer of the session that reads from the start and reconnects."""
        transcript = Books(self.id, f"{kind} viewer of {self.id}", raw)
        self._history.transcripts.append(transcript)
        make = SlowWatcher if slow else Watcher
        path = f"/v1/sessions/{self.id}/events?raw={str(raw).lower()}"
        seed = self._random.randrange(2**32)
        watcher = make(self._deployment.urls, path, transcript, seed, stay_s=stay_s, headers=self._headers)
        self._watchers.append(watcher)
        self._tally.viewers[kind] += 1
        self._begin(watcher.watch())

    def read(self, job: Job) -> None:
        """Start a viewer of one job, up to its end."""
        transcript = self._history.client(self.id, f"reader of {self.id} {job.id}", raw=False)
        path = f"/v1/sessions/{self.id}/jobs/{job.id}/events"
        seed = self._random.randrange(2**32)
        reader = Watcher(self._deployment.urls, path, transcript, seed, stay_s=2, headers=self._headers)
        self._readers.append((reader, job))
        self._tally.viewers["of a job"] += 1
        self._begin(reader.watch())

    def stare(self) -> None:
        """Start a viewer that never reads."""
        path = f"/v1/sessions/{self.id}/events?raw=true&ticket={self._ticket}"
        self._deaf.append(Deaf(f"{self._deployment.url}{path}"))
        self._tally.viewers["deaf"] += 1

    # What has to be true.

    async def judge(self) -> None:
        """All jobs have ended: every viewer has to have what is in the log, no more and no less. Later jobs are judged
        by themselves."""
        log = await final_log(self._deployment.log, self._deployment.complete(self.id))
        with contextlib.suppress(AssertionError):  # who never had it all is found below
            await until(lambda: self._all_told(log), TOLD_S)
        logs = {self.id: log}
        self._tally.ended(event.kind for event in log if (self.id, event.job_id) in self._history.accepted)
        self._tally.violations += [*self._history.violations(logs), *self._history.incomplete(logs)]
        self._tally.violations += [f"P1 {transcript.client} was told of a gap" for transcript in self._with_gaps()]
        self._tally.violations += [
            f"P1 {reader.transcript.client} has another text than the agent said"
            for reader, job in self._readers
            if reader.transcript.events()[-1:] and reader.transcript.events()[-1].kind == "job.completed"
            if reader.text != job.text
        ]
        self._history.accepted.clear()

    async def delete(self) -> None:
        """Every viewer hears of it and stops; what was told until then has to follow."""
        await dismiss(self._answers)
        await self._client.delete(self.id)
        readers = [reader for reader, _ in self._readers]
        viewers = [*self._watchers, *readers]
        with contextlib.suppress(AssertionError):  # found by the next line
            await until(lambda: all(viewer.over for viewer in viewers), TOLD_S)
        for viewer in viewers:
            if not viewer.over:
                self._tally.violations.append(f"{viewer.transcript.client} never came to an end")
            elif viewer not in readers and self._wronged(viewer):  # a job is 404 as soon as its session is deleted
                self._tally.violations.append(f"{viewer.transcript.client} was refused with {viewer.refused}")
        # The log is trimmed by now: only the order of what each was told is left to be judged.
        self._tally.violations += History(transcripts=self._history.transcripts).violations({})

    async def close(self) -> None:
        await dismiss(self._tasks)
        for task in self._tasks:
            error = None if task.cancelled() else task.exception()
            if error is not None:
                self._tally.violations.append(f"{self.id}: {type(error).__name__}: {error}")
        for deaf in self._deaf:
            deaf.close()
        self._tally.heard(self._history.transcripts)

    def _begin(self, coroutine: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        return task

    def _all_told(self, log: list[Told]) -> bool:
        told = all(watcher.transcript.cursor >= log[-1].id for watcher in self._watchers)
        return told and all(reader.over for reader, _ in self._readers)

    def _wronged(self, viewer: Watcher) -> bool:
        """Whether a viewer was refused that had begun. After the deletion a new one rightly finds nothing."""
        return bool(viewer.refused) and (viewer.refused != [404] or viewer.transcript.cursor != ORIGIN)

    def _with_gaps(self) -> list[Transcript]:
        return [transcript for transcript in self._history.transcripts if transcript.gaps()]
