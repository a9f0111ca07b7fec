"""Runs the last attempt at a job in a process of its own, so that a job that kills its process harms no other job.

This is the worker's side: it keeps the queue entry and the lease. isolated_process.py runs the attempt and writes to
the log. The two exchange lines of JSON. The worker sends the attempt, then `{}` whenever the job is to poll its
intents. The process sends `{"waits": …}` periodically as a heartbeat, `{"retire": …}` with waiting jobs that it is
about to end, to which the worker replies `{"retired": true}` once their queue entries are dropped, and at the end
`{"ended": …}`, `{"fenced": …}` or `{"refused": …}`. The attempt and every line of the process carry the schema version,
`v`; a newer one is refused. Every line of the process has what it counted since the line before, `measures`.
"""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from typing import Any

import orjson
import structlog
from holdfast.shared.errors import Fenced, HoldfastError, SchemaNewer
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.log.log_replies import Attempt, Head
from holdfast.shared.log.log_writer import LogWriter
from holdfast.shared.log.session_claims import Retire
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.schema import SCHEMA, check_schema
from holdfast.worker.attempt.ending import Ending
from holdfast.worker.process.measures import measures
from holdfast.worker.process.outage import Outage
from holdfast.worker.process.settings import WorkerSettings

MAX_PROCESSES = 8  # per worker, since each takes the memory of a whole worker
SLOT_POLL_SECONDS = 0.1  # interval at which an attempt checks for a free slot
STARTING_SECONDS = 60.0  # a process has so long to import its agents
SILENCE_CHECKS = 4  # per lease, or per SILENT_SECONDS if that is longer
SILENT_SECONDS = 5.0
REAP_SECONDS = 1.0  # wait so long for a killed process

# The process gets this one's module path, so that the working directory does not shadow modules.
_START = "import sys; sys.path[:] = sys.argv[1:]; from holdfast.worker.attempt.isolated_process import main; main()"

log = structlog.get_logger()


class ProcessDied(HoldfastError):
    """The process exited or stopped reporting before the job's end."""

    code = "died"


class IsolatedAttempt:
    """One attempt in a process of its own, with the interface of Job. `running`: the worker's isolated attempts."""

    def __init__(
        self,
        attempt: Attempt,
        settings: WorkerSettings,
        log_writer: LogWriter,
        outage: Outage,
        running: set[IsolatedAttempt],
        *,
        on_wait_changed: Callable[[], None],
        retire: Retire,
    ) -> None:
        self.attempt = attempt
        self.waits = False
        self._look_s = max(settings.lease_seconds, SILENT_SECONDS) / SILENCE_CHECKS
        self._log_writer = log_writer
        self._outage = outage
        self._running = running
        self._on_wait_changed = on_wait_changed
        self._retire = retire
        self._retiring: asyncio.Task[None] | None = None
        self._process: Process | None = None
        self._lost: Exception | None = None
        self._has_intents = False
        self._polled_at = -math.inf
        self._silent = 0

    async def run(self) -> tuple[Ending, Head | None]:
        """Run the job until its end is in the log. Returns the ending and the head of the backlog.

        Raises Fenced when another attempt has claimed the session, ProcessDied when the outcome is unknown."""
        try:
            await self._wait_for_slot()
            self._process = await self._spawn()
            return await self._result(self._process)
        finally:
            self._running.discard(self)
            await self._reap()

    def intents_unknown_since(self, since: float) -> bool:
        """Return whether the intents were last polled before `since`, by the event loop's clock."""
        return self._polled_at < since

    async def poll_intents(self) -> None:
        """Let the process poll the intents. An attempt without a process yet reads them, and starts at once if there
        are any."""
        self._polled_at = asyncio.get_running_loop().time()
        if self._process is not None:
            with suppress(OSError, RuntimeError):  # the process has ended
                self._write(self._process, {})
            return
        try:
            intents = await self._log_writer.intents(self.attempt.session_id, self.attempt.epoch)
        except Fenced as error:
            self.lose(error)
        except RedisError as error:
            self._outage.began(error)
        else:
            self._has_intents = intents.deleted or bool(intents.cancel)

    def lose(self, error: Exception) -> None:
        """Stop at once: this attempt no longer owns the session."""
        self._lost = self._lost or error
        self._kill()

    async def release(self) -> None:
        """Stop at once and release the session, so that the job starts again elsewhere without a strike."""
        self.lose(Fenced("the worker stops"))
        await self._log_writer.release(self.attempt.session_id, self.attempt.epoch)

    async def _wait_for_slot(self) -> None:
        """Wait for a free slot. Attempts that wait for a person take none."""
        while self._full() and not self._has_intents and self._lost is None:  # noqa: ASYNC110 - three conditions end it
            await asyncio.sleep(SLOT_POLL_SECONDS)
        self._raise_if_lost()
        self._running.add(self)

    def _full(self) -> bool:
        return sum(not other.waits for other in self._running) >= MAX_PROCESSES

    async def _spawn(self) -> Process:
        command = [sys.executable, "-c", _START, *sys.path]
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, start_new_session=True)
        except OSError as error:  # not the job's fault
            log.warning("no process for the last attempt", job_id=self.attempt.job_id, error=str(error))
            await self._outage.retry_until_available(self.release)
            raise Fenced("the session was given back") from error
        self._write(process, _as_json(self.attempt))
        return process

    async def _result(self, process: Process) -> tuple[Ending, Head | None]:
        """Return the process's last report. Raises ProcessDied where it exits or stops reporting before."""
        reading = asyncio.create_task(self._read_reports(process))
        others = [asyncio.create_task(process.wait()), asyncio.create_task(self._until_silent())]
        try:
            self._raise_if_lost()
            await asyncio.wait({reading, *others}, return_when=asyncio.FIRST_COMPLETED)
            await asyncio.wait({reading}, timeout=self._look_s)  # it may have reported just before it exited
            self._raise_if_lost()
            report = reading.result() if reading.done() else None
        finally:
            for task in filter(None, (reading, *others, self._retiring)):
                task.cancel()
        if report is None:
            code = process.returncode
            raise ProcessDied("it stopped reporting" if code is None else f"it exited with {code}")
        if "fenced" in report:
            raise Fenced(report["fenced"])
        if "refused" in report:
            await self._outage.retry_until_available(self.release)
            raise Fenced("the session was given back")
        return Ending(report["ended"], report["fields"]), Head(*report["head"]) if report["head"] else None

    async def _read_reports(self, process: Process) -> dict[str, Any] | None:
        """Read reports until the last one."""
        assert process.stdout is not None
        async for line in process.stdout:
            self._silent = 0
            if not line.endswith(b"\n"):
                break
            report: dict[str, Any] = _checked(orjson.loads(line))
            if (counted := report.pop("measures", None)) is not None:
                measures.merge(counted)
            if "refused" in report:  # the two processes run different versions: not the job's fault
                log.error(
                    "the isolated attempt runs another version of Holdfast; restart the worker",
                    job_id=self.attempt.job_id,
                    reason=report["refused"],
                )
                return report
            if "retire" in report:
                self._retiring = asyncio.create_task(self._drop_entries(process, report["retire"]))
                continue
            if "waits" not in report:
                return report
            if report["waits"] != self.waits:
                self.waits = report["waits"]
                self._on_wait_changed()
        await process.wait()
        return None

    async def _drop_entries(self, process: Process, job_ids: list[str]) -> None:
        await self._retire(job_ids)
        with suppress(OSError, RuntimeError):  # the process has ended
            self._write(process, {"retired": True})

    async def _until_silent(self) -> None:
        """Wait until the process has not reported through a series of checks that spans the lease.

        The checks are counted instead of using a clock, so that a frozen worker does not suspect a live process."""
        self._silent = -math.ceil(STARTING_SECONDS / self._look_s)
        while self._silent <= SILENCE_CHECKS:
            await asyncio.sleep(self._look_s)
            self._silent += 1

    def _write(self, process: Process, message: dict[str, Any]) -> None:
        assert process.stdin is not None
        process.stdin.write(orjson.dumps(message) + b"\n")

    def _raise_if_lost(self) -> None:
        if self._lost is not None:
            raise self._lost

    async def _reap(self) -> None:
        self._kill()
        if self._process is not None:
            with suppress(TimeoutError):
                async with asyncio.timeout(REAP_SECONDS):
                    await self._process.wait()

    def _kill(self) -> None:
        """Kill the process and its children."""
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)


def _checked(report: dict[str, Any]) -> dict[str, Any]:
    """Return the report; a refusal where its schema version is newer."""
    try:
        check_schema(report.get("v"), "The isolated attempt")
    except SchemaNewer as error:
        return {"refused": str(error)}
    return report


def _as_json(attempt: Attempt) -> dict[str, Any]:
    fields = {name: _plain(value) for name, value in asdict(attempt).items()}
    fields["token"] = fields.pop("claim_id")
    return {"v": SCHEMA} | fields


def _plain(value: Any) -> Any:
    if isinstance(value, EventId):
        return str(value)
    return value.decode() if isinstance(value, bytes) else value


def attempt_of(line: bytes) -> Attempt:
    """Parse the attempt that the worker sent. Version 0 has no ids. Raises SchemaNewer."""
    fields = orjson.loads(line)
    check_schema(fields.pop("v", None), "The worker")
    fields["claim_id"] = fields.pop("token")
    names = ("input", "options", "metadata", "budget", "spent", "models", "client")
    texts = {name: fields.get(name, "").encode() for name in names}
    ids = {name: parse_id(fields[name]) if fields.get(name) else None for name in ("discard_from", "first")}
    return Attempt(**(fields | texts | ids))
