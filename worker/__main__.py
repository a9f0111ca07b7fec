"""`python -m holdfast.worker`: run one worker process until SIGTERM."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import structlog
import uvloop
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.metrics.listener import check_free
from holdfast.shared.settings import read_settings
from holdfast.shared.telemetry import configure
from holdfast.shared.tracing import check_tracing, traced
from holdfast.worker.agents.chat import chat_agents
from holdfast.worker.agents.models import known_models
from holdfast.worker.attempt.current_job import job_keys
from holdfast.worker.process.arq_worker import HoldfastWorker
from holdfast.worker.process.redaction import keep_out_of_log_lines, without_keys
from holdfast.worker.process.settings import WorkerSettings, quieten
from holdfast.worker.sdk.registry import Agent, ModuleBroken, OnBroken, Registry

LEFTOVER_SECONDS = 1.0

log = structlog.get_logger()


def main() -> None:
    """Run a worker configured by the environment. Exits 0 after SIGTERM, 2 when it cannot start."""
    try:
        settings = configured()
        registry = Registry(agents(settings))
        check_tracing(settings.otlp_endpoint)
        if settings.metrics_port is not None:
            check_free(settings.metrics_host, settings.metrics_port)
    except SettingsInvalid as error:
        lines = without_keys(str(error), opaque=False).splitlines()
        sys.stderr.writelines(f"holdfast worker: {line}\n" for line in lines)
        sys.exit(2)
    registry.warm()
    gc.collect()
    gc.freeze()  # exempt long-lived objects from collection: shorter pauses for jobs
    _run(settings, registry)


def configured() -> WorkerSettings:
    """Read the settings, and set up the process: log lines, and no telemetry of frameworks. Raises SettingsInvalid."""
    settings = read_settings(WorkerSettings)
    configure(as_json=settings.log_as_json, process="worker", keys=job_keys)
    keep_out_of_log_lines()
    quieten()
    return settings


def modules(settings: WorkerSettings) -> list[str]:
    """Return the modules whose agents this worker offers."""
    here = str(Path.cwd())
    if here not in sys.path:
        # The user's agents are in the working directory. Appended last, so that it shadows no other modules.
        sys.path.append(here)
    scripted = ["holdfast.worker.agents.scripted"] if settings.scripted_agent else []
    return ["holdfast.worker.agents.demo", *scripted, *settings.modules]


def _log_broken(error: ModuleBroken) -> None:
    log.error("agents are not offered", reason=without_keys(str(error), opaque=False))


def agents(settings: WorkerSettings, on_broken: OnBroken = _log_broken) -> Iterator[Agent]:
    """Load the agents of this worker. Broken modules are passed to `on_broken` and left out. Raises SettingsInvalid."""
    yield from Registry.load(modules(settings), on_broken).values()
    yield from Registry.installed(on_broken).values()
    yield from chat_agents(known_models(settings.models))


def _run(settings: WorkerSettings, registry: Registry) -> None:
    loop = uvloop.new_event_loop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(serve(settings, registry))
        stuck = loop.run_until_complete(_leftovers())
    finally:
        logging.shutdown()
    if stuck:  # agents that swallow their cancellation must not keep the process alive
        os._exit(0)
    loop.close()


async def serve(settings: WorkerSettings, registry: Registry) -> None:
    worker = HoldfastWorker(settings, registry, isolate_last_attempt=True)
    try:
        with worker.operation.listening(), traced(settings.otlp_endpoint, "worker"):
            await worker.async_run()
    finally:
        await worker.close()


async def _leftovers() -> int:
    """Cancel the remaining tasks. Returns how many did not end in time."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    if not tasks:
        return 0
    _, stuck = await asyncio.wait(tasks, timeout=LEFTOVER_SECONDS)
    return len(stuck)


if __name__ == "__main__":
    main()
