"""Threads of jobs that never return."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from holdfast.worker import Run
from holdfast.worker.attempt.thread_run import ThreadRun
from holdfast.worker.process.threads import thread_counts
from holdfast.worker.sdk.tools import find_tools, tool

from tests.support.ports import free_port
from tests.support.process import Processes, until
from tests.support.workers import Client, worker_on

HUNG = 40


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What the hung threads wait for; it comes with the end of the test."""
    event = threading.Event()
    yield event
    event.set()


def hanging(event: threading.Event) -> dict[str, Callable[..., Any]]:
    """Agents that block a thread for good, each in its own way."""

    @tool
    def waits_for_ever() -> None:
        event.wait()

    async def step(run: Run) -> None:
        await run.step("hang", lambda: event.wait() and None)

    async def called_tool(run: Run) -> None:
        await find_tools(["waits_for_ever"])["waits_for_ever"].call({})

    async def to_thread(run: Run) -> None:
        await asyncio.to_thread(event.wait)

    def synchronous(run: ThreadRun) -> None:
        event.wait()

    return {function.__name__: function for function in (step, called_tool, to_thread, synchronous)}


async def trivial(run: Run) -> int:
    return int(await run.step("add", lambda: 1 + 1))


@pytest.mark.parametrize("how", ["step", "called_tool", "to_thread", "synchronous"])
async def test_f68_hung_threads_of_jobs_that_timed_out_delay_no_other_job(
    redis_url: str, client: Client, released: threading.Event, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    monkeypatch.setattr("holdfast.worker.attempt.jobs.STOPPING_SECONDS", 0.1)
    agent = hanging(released)[how]
    async with worker_on(redis_url, [agent, trivial]):
        await client.offered(how, "trivial")
        for number in range(HUNG):
            await client.post(f"s{number}", agent=how, timeout_s=1)
        for number in range(HUNG):
            assert (await client.end(f"s{number}"))["error"]["code"] == "timeout"
        await client.post(agent="trivial")
        assert (await client.end())["result"] == 2
        assert thread_counts()[how].abandoned >= HUNG
        released.set()
        await until(lambda: thread_counts()[how].running == 0)


async def test_f68_an_agent_with_too_many_hung_threads_fails_clearly_and_others_go_on(
    redis_url: str, client: Client, released: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.worker.process.threads.MAX_ABANDONED", 2)
    monkeypatch.setattr("holdfast.worker.attempt.jobs.STOPPING_SECONDS", 0.1)
    async with worker_on(redis_url, [hanging(released)["step"], trivial]):
        await client.offered("step", "trivial")
        codes = []
        for session in ("s1", "s2", "s3"):
            await client.post(session, agent="step", timeout_s=1)
            codes.append((await client.end(session))["error"]["code"])
        assert codes == ["timeout", "timeout", "threads_exhausted"]
        assert (await client.end("s3"))["error"]["retryable"]
        await client.post(agent="trivial")
        assert (await client.end())["result"] == 2


async def test_a_thread_that_an_agent_leaves_behind_is_abandoned_until_it_returns(
    redis_url: str, client: Client, released: threading.Event
) -> None:
    left: list[asyncio.Future[bool]] = []

    async def leaves(run: Run) -> None:
        left.append(asyncio.create_task(asyncio.to_thread(released.wait)))
        await asyncio.sleep(0)

    async with worker_on(redis_url, [leaves]):
        await client.offered("leaves")
        await client.post(agent="leaves")
        await client.end()
        await until(lambda: thread_counts()["leaves"] == (1, 1))
        released.set()
        assert await left[0]
        await until(lambda: thread_counts()["leaves"] == (0, 0))


AGENT = """
import time
from holdfast.worker import agent

@agent
async def hangs(run):
    await run.step("sleep", time.sleep, 3600)
"""


async def test_hung_threads_are_a_metric_of_the_worker(
    redis_url: str, client: Client, processes: Processes, tmp_path: Path
) -> None:
    (tmp_path / "hanging_agent.py").write_text(AGENT)
    port = free_port()
    env = {"HOLDFAST_AGENTS": "hanging_agent", "PYTHONPATH": str(tmp_path), "HOLDFAST_METRICS_PORT": str(port)}
    worker = processes.worker(redis_url, **env)
    await client.offered("hangs")
    await client.post(agent="hangs", timeout_s=1)
    async with httpx2.AsyncClient(trust_env=False) as http:

        async def shows(line: str) -> bool:
            answer = await http.get(f"http://127.0.0.1:{port}/metrics")
            return line in answer.text.splitlines()

        await until(lambda: shows('holdfast_job_threads_running{agent="hangs"} 1.0'))
        await client.end()
        await until(lambda: shows('holdfast_job_threads_abandoned{agent="hangs"} 1.0'))
        assert await shows('holdfast_job_threads_running{agent="hangs"} 0.0')
    second = processes.worker(redis_url, **env)
    assert await second.wait() == 2
    assert f"HOLDFAST_METRICS_PORT: 127.0.0.1:{port}: " in second.output()
    worker.terminate()
    assert await worker.wait() == 0
