"""The process of a job's last attempt, see isolated_attempt.py. It ends when the worker that started it is gone."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO

import orjson
import uvloop
from holdfast.shared.background import repeat
from holdfast.shared.day_usage import DayUsage
from holdfast.shared.errors import Fenced, SchemaNewer
from holdfast.shared.log.log_replies import Attempt
from holdfast.shared.log.log_writer import LogWriter
from holdfast.shared.redis.client import connect
from holdfast.shared.redis.log_connections import connect_logs
from holdfast.shared.schema import SCHEMA
from holdfast.shared.sessions import Sessions
from holdfast.shared.tracing import traced
from holdfast.worker.__main__ import agents, configured
from holdfast.worker.attempt.isolated_attempt import attempt_of
from holdfast.worker.attempt.jobs import Job
from holdfast.worker.process.measures import measures
from holdfast.worker.process.outage import Outage
from holdfast.worker.process.settings import LOG_DEADLINE_SECONDS, WorkerSettings
from holdfast.worker.process.threads import install
from holdfast.worker.process.watchdog import Watchdog
from holdfast.worker.sdk.registry import Registry

CONNECTIONS = 8
RETIRE_SECONDS = 10.0  # wait so long until the worker has dropped queue entries
LOOK_SECONDS = 1.0  # interval at which the job polls its intents, unless the worker sends a line

Report = Callable[[dict[str, Any]], None]


def main() -> None:
    """Run the attempt that stdin describes, and report its end on stdout."""
    lines, reports = _pipes()
    for number in (signal.SIGTERM, signal.SIGINT):  # the worker decides; child processes of the agent still get them
        signal.signal(number, lambda *_: None)
    settings = configured()
    line = lines.readline()
    if not line.endswith(b"\n"):  # the worker is gone
        sys.exit(1)

    writing = threading.Lock()  # the watchdog's thread reports too

    def report(message: dict[str, Any]) -> None:
        with writing:
            counted = {"measures": measures.drain()}
            os.write(reports, orjson.dumps({"v": SCHEMA, **message, **counted}) + b"\n")

    try:
        attempt = attempt_of(line)
    except SchemaNewer as error:
        report({"refused": str(error)})
        sys.exit(1)
    registry = Registry(agents(settings))
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    install(loop)
    with traced(settings.otlp_endpoint, "worker"):
        last_report = loop.run_until_complete(_attempt(attempt, settings, registry, lines, report))
    logging.shutdown()
    report(last_report)
    os._exit(0)  # without threads and tasks that do not end


def _pipes() -> tuple[BinaryIO, int]:
    """Move the worker's pipes away from stdin and stdout: the agent reads nothing, and its prints go to stderr."""
    lines, reports = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return lines, reports


async def _attempt(
    attempt: Attempt, settings: WorkerSettings, registry: Registry, lines: BinaryIO, report: Report
) -> dict[str, Any]:
    """Run the attempt. Returns the last report."""
    loop, intent_event, retired = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
    logs = connect_logs(
        settings.log_url,
        max_connections=CONNECTIONS,
        deadline_s=LOG_DEADLINE_SECONDS,
        masters=settings.master_keys,
        plain_until_s=settings.plain_until_s,
    )
    log_writer, sessions = LogWriter(logs, settings), Sessions(logs, settings)
    agent = registry[attempt.agent]

    def report_waits() -> None:
        report({"waits": job.waits})

    async def retire(job_ids: Sequence[str]) -> None:
        retired.clear()
        report({"retire": list(job_ids)})
        with suppress(TimeoutError):
            async with asyncio.timeout(RETIRE_SECONDS):
                await retired.wait()

    outage, limits = Outage("log"), settings.day_limits
    day_usage = DayUsage(connect(settings.redis_url, max_connections=1), limits) if limits else None
    job = Job(
        attempt,
        agent,
        settings,
        log_writer,
        sessions,
        outage,
        on_intent=intent_event.set,
        on_wait_changed=report_waits,
        retire=retire,
        day_usage=day_usage,
    )
    # A thread, so that the process ends with its worker even while the agent blocks the event loop.
    threading.Thread(
        target=_read_lines, args=(lines, loop, intent_event, retired), daemon=True, name="worker lines"
    ).start()

    async def send_heartbeat() -> float:
        report_waits()
        return settings.lease_seconds / 4

    watchdog = Watchdog(report_waits, settings.lease_seconds)
    loops = (
        repeat("intents", partial(_poll_intents, job, intent_event)),
        repeat("heartbeat", send_heartbeat),
        watchdog.run(),
    )
    beside = [asyncio.create_task(loop) for loop in loops]
    try:
        ending, head = await job.run()
    except Fenced as error:
        return {"fenced": str(error)}
    finally:
        for task in beside:
            task.cancel()
    fields = {name: value for name, value in ending.fields.items() if name != "result"}
    return {"ended": ending.kind, "fields": fields, "head": head and list(head)}


def _read_lines(
    lines: BinaryIO, loop: asyncio.AbstractEventLoop, intent_event: asyncio.Event, retired: asyncio.Event
) -> None:
    """Read the worker's lines; exit when the worker is gone."""
    for line in lines:
        loop.call_soon_threadsafe((retired if b'"retired"' in line else intent_event).set)
    os._exit(1)


async def _poll_intents(job: Job, intent_event: asyncio.Event) -> float:
    """Poll the job's intents, at once on a line of the worker and every LOOK_SECONDS otherwise."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_SECONDS):
            await intent_event.wait()
    intent_event.clear()
    await job.poll_intents()
    return 0
