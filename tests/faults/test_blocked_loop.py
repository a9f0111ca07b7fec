"""An agent blocks the event loop of its worker."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.ports import free_port
from tests.support.process import Process, Processes, until
from tests.support.scene import words
from tests.support.workers import Client

AGENTS = """
import asyncio, time
from holdfast.worker import agent

@agent
async def naps(run):
    time.sleep(run.options["seconds"])
    return run.attempt

@agent
async def counts(run):
    began = time.monotonic()
    sum(range(10**7))  # in C, without letting go of the interpreter
    sum(range(int(10**7 * 4 / (time.monotonic() - began))))

@agent
async def imports(run):
    import slow_to_import

@agent
async def naps_within(run):
    async def nap():
        time.sleep(run.options["seconds"])
    await asyncio.gather(nap(), asyncio.sleep(0))
"""

Start = Callable[..., Process]


@pytest.fixture
def start(processes: Processes, redis_url: str, tmp_path: Path) -> Start:
    """`start(HOLDFAST_…="…")` starts a worker with the agents above."""
    (tmp_path / "napping_agents.py").write_text(AGENTS)
    (tmp_path / "slow_to_import.py").write_text("import time\ntime.sleep(3)\n")
    common = {"HOLDFAST_LOG_FORMAT": "json", "HOLDFAST_AGENTS": "napping_agents", "PYTHONPATH": str(tmp_path)}
    return lambda **env: processes.worker(redis_url, **(common | env))


def reports(worker: Process) -> list[dict[str, Any]]:
    """The log lines of the worker that say its loop is blocked."""
    lines = [json.loads(line) for line in worker.output().splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == "event loop is blocked"]


@pytest.mark.parametrize(("agent", "function"), [("naps", "naps"), ("naps_within", "nap")])
async def test_f75_a_blocked_event_loop_is_logged_with_its_agent_and_counted(
    client: Client, start: Start, agent: str, function: str
) -> None:
    port = free_port()
    worker = start(HOLDFAST_METRICS_PORT=str(port))
    await client.offered(agent)
    await client.post(agent=agent, options={"seconds": 3})
    await client.end()
    [report] = [line for line in reports(worker) if line["agent"]]
    assert (report["agent"], report["session_id"], report["job_id"]) == (agent, "s", "j1")
    assert report["frames"].startswith("napping_agents.py:")
    assert report["frames"].partition(" < ")[0].endswith(function)
    assert "hint" not in report
    async with httpx2.AsyncClient(trust_env=False) as http:
        metrics = (await http.get(f"http://127.0.0.1:{port}/metrics")).text
    assert f'holdfast_event_loop_blocks_total{{agent="{agent}"}} 1.0' in metrics.splitlines()


async def test_f75_a_loop_that_an_import_blocks_is_logged_with_what_to_do(client: Client, start: Start) -> None:
    worker = start()
    await client.offered("imports")
    await client.post(agent="imports")
    await client.end()
    [report] = [line for line in reports(worker) if line["agent"]]
    assert report["hint"] == "the job imports a module: import it before the first job, by @agent(warm=…)"


async def test_f75_a_call_in_c_that_keeps_the_interpreter_is_logged_when_it_returns(
    client: Client, start: Start
) -> None:
    worker = start()
    await client.offered("counts")
    await client.post(agent="counts")
    await client.end()
    await until(lambda: any(line["agent"] == "counts" for line in reports(worker)))


async def test_f75_jobs_beside_one_that_blocks_the_loop_for_two_leases_lose_no_attempt(
    redis_url: str, client: Client, start: Start, processes: Processes
) -> None:
    lease = {"HOLDFAST_LEASE_SECONDS": "2"}
    start(**lease)
    await client.offered("naps")
    await client.post("beside", options={"tokens": 300, "interval_ms": 20})
    await client.spoke("beside")
    other = processes.worker(redis_url, **lease)
    await other.until_output("worker started")
    await client.post("blocks", agent="naps", options={"seconds": 5})
    for session in ("beside", "blocks"):
        assert (await client.end(session))["type"] == "job.completed"
        assert (await client.job(session)).attempt == 1
    assert await client.said("beside") == words(300)
    assert "worker is dead" not in other.output()
