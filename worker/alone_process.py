"""The process of a job's last attempt, see worker.alone. It ends when the worker that started it is gone."""

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
from holdfast.shared.auto_pipeline import AutoPipeline
from holdfast.shared.background import repeat
from holdfast.shared.errors import Fenced, SchemaNewer
from holdfast.shared.holder import Attempt, Holder
from holdfast.shared.redis import connect
from holdfast.shared.schema import SCHEMA
from holdfast.shared.sessions import Sessions
from holdfast.shared.settings import read_settings
from holdfast.shared.telemetry import configure
from holdfast.worker.__main__ import agents, new_loop
from holdfast.worker.alone import attempt_of
from holdfast.worker.jobs import Job, job_of
from holdfast.worker.outage import Outage
from holdfast.worker.quiet import quieten
from holdfast.worker.redaction import keep_out_of_log_lines
from holdfast.worker.registry import Registry
from holdfast.worker.settings import APPEND_DEADLINE_SECONDS, WorkerSettings
from holdfast.worker.threads import install
from holdfast.worker.watchdog import Watchdog

CONNECTIONS = 8
LOOK_SECONDS = 1.0  # until the job looks at what it is asked, unless it is told

Report = Callable[[dict[str, Any]], None]


def main() -> None:
    """Run the attempt that stands on stdin, and say on stdout how it ended."""
    orders, reports = _pipes()
    for number in (signal.SIGTERM, signal.SIGINT):  # the worker decides; what the agent starts hears them as ever
        signal.signal(number, lambda *_: None)
    settings = read_settings(WorkerSettings)
    configure(as_json=settings.log_as_json, process="worker")
    keep_out_of_log_lines()
    quieten()
    line = orders.readline()
    if not line.endswith(b"\n"):  # the worker is gone
        sys.exit(1)

    writing = threading.Lock()  # the watchdog's thread reports too

    def report(message: dict[str, Any]) -> None:
        with writing:
            os.write(reports, orjson.dumps({"v": SCHEMA, **message}) + b"\n")

    try:
        attempt = attempt_of(line)
    except SchemaNewer as error:
        report({"refused": str(error)})
        sys.exit(1)
    registry = Registry(agents(settings))
    loop = new_loop()
    asyncio.set_event_loop(loop)
    install(loop)
    last_word = loop.run_until_complete(_attempt(attempt, settings, registry, orders, report))
    logging.shutdown()
    report(last_word)
    os._exit(0)  # without threads and tasks that do not end


def _pipes() -> tuple[BinaryIO, int]:
    """The worker's pipes, out of the agent's reach: it reads nothing, and what it prints goes to stderr."""
    orders, reports = os.fdopen(os.dup(0), "rb"), os.dup(1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.dup2(2, 1)
    os.close(nothing)
    return orders, reports


async def _attempt(
    attempt: Attempt, settings: WorkerSettings, registry: Registry, orders: BinaryIO, report: Report
) -> dict[str, Any]:
    """Run it. Answers what the worker is to know of its end."""
    loop, wanted = asyncio.get_running_loop(), asyncio.Event()
    redis = connect(settings.log_url, max_connections=CONNECTIONS)
    pipeline = AutoPipeline(settings.log_url, deadline_s=APPEND_DEADLINE_SECONDS)
    holder, sessions = Holder(redis, pipeline, settings), Sessions(redis, settings)
    agent = registry[attempt.agent]

    def tell() -> None:
        report({"waits": job.waits})

    async def retire(job_ids: Sequence[str]) -> None:
        report({"retire": list(job_ids)})

    outage = Outage("log")
    job = job_of(attempt, agent, settings, holder, sessions, outage, noticed=wanted.set, rested=tell, retire=retire)
    # A thread of its own: the process ends with its worker even where the agent blocks the loop.
    threading.Thread(target=_obey, args=(orders, loop, wanted), daemon=True, name="orders").start()

    async def live() -> float:
        tell()
        return settings.lease_seconds / 4

    watchdog = Watchdog(tell, settings.lease_seconds)
    loops = (repeat("intents", partial(_heed, job, wanted)), repeat("sign of life", live), watchdog.run())
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


def _obey(orders: BinaryIO, loop: asyncio.AbstractEventLoop, wanted: asyncio.Event) -> None:
    """Hear the worker, until it is gone."""
    for _ in orders:
        loop.call_soon_threadsafe(wanted.set)
    os._exit(1)


async def _heed(job: Job, wanted: asyncio.Event) -> float:
    """Look at what is asked of the job, at once when it is told and every second otherwise."""
    with suppress(TimeoutError):
        async with asyncio.timeout(LOOK_SECONDS):
            await wanted.wait()
    wanted.clear()
    await job.heed()
    return 0
