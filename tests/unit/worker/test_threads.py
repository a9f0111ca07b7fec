"""The threads of one job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from tests.support.process import until
from worker.run import RunEnded
from worker.threads import MAX_THREADS, JobThreads, in_thread, install, thread_counts


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def threads() -> JobThreads:
    threads = JobThreads("agent")
    threads.enter()
    return threads


async def test_a_call_beyond_the_jobs_threads_waits_for_one_of_them(threads: JobThreads, gate: threading.Event) -> None:
    held = [asyncio.create_task(in_thread(gate.wait)) for _ in range(MAX_THREADS)]
    await until(lambda: thread_counts()["agent"].running == MAX_THREADS)
    late = asyncio.create_task(in_thread(lambda: "late"))
    assert (await asyncio.wait({late}, timeout=0.05))[0] == set()
    gate.set()
    assert await late == "late"
    await asyncio.gather(*held)
    await until(lambda: thread_counts()["agent"].running == 0)


async def test_another_job_of_the_agent_does_not_wait(threads: JobThreads, gate: threading.Event) -> None:
    held = [asyncio.create_task(in_thread(gate.wait)) for _ in range(MAX_THREADS)]
    JobThreads("agent").enter()
    assert await in_thread(lambda: "other") == "other"
    gate.set()
    await asyncio.gather(*held)


async def test_a_call_that_nobody_waits_for_any_more_is_abandoned_until_it_returns(
    threads: JobThreads, gate: threading.Event
) -> None:
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await in_thread(gate.wait)
    assert thread_counts()["agent"] == (1, 1)
    gate.set()
    await until(lambda: thread_counts()["agent"] == (0, 0))


async def test_at_the_end_of_the_job_what_has_not_begun_never_does(threads: JobThreads, gate: threading.Event) -> None:
    begun: list[int] = []
    held = [asyncio.create_task(in_thread(gate.wait)) for _ in range(MAX_THREADS)]
    late = asyncio.create_task(in_thread(begun.append, 1))
    await until(lambda: thread_counts()["agent"].running == MAX_THREADS)
    threads.end()
    await asyncio.wait({*held, late})
    assert all(call.cancelled() for call in (*held, late))
    gate.set()
    await until(lambda: thread_counts()["agent"].running == 0)
    assert begun == []
    with pytest.raises(RunEnded):
        await in_thread(begun.append, 1)


async def test_what_a_job_leaves_to_asyncio_runs_in_its_threads_and_the_rest_does_not(threads: JobThreads) -> None:
    install(asyncio.get_running_loop())
    assert await asyncio.to_thread(lambda: threading.current_thread().name) == "job of agent"
    threads.end()
    with pytest.raises(RunEnded):
        await asyncio.to_thread(int)


async def test_an_error_is_raised_where_the_call_was_made(threads: JobThreads) -> None:
    def raises(error: BaseException) -> None:
        raise error

    with pytest.raises(SystemExit):
        await in_thread(raises, SystemExit(3))
    with pytest.raises(RuntimeError, match="StopIteration"):
        await in_thread(raises, StopIteration())
