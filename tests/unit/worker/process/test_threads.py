"""The threads of one job."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextvars import Context

import pytest
from holdfast.worker.process.threads import MAX_THREADS, JobThreads, in_thread, install, thread_counts
from holdfast.worker.sdk.run import RunEnded

from tests.support.process import until


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def threads() -> Iterator[JobThreads]:
    entered = JobThreads("agent")
    entered.enter()
    yield entered
    JobThreads("later tests").enter()  # a fixture that is no coroutine has its context in common with later tests


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
    named = asyncio.create_task(asyncio.to_thread(lambda: threading.current_thread().name), context=Context())
    assert await named != "job of agent"


async def test_a_task_that_outlives_its_job_keeps_the_call_under_way_and_may_make_others(
    threads: JobThreads, gate: threading.Event
) -> None:
    """Such as the token refresh of a client that jobs share, begun in the first of them."""
    install(asyncio.get_running_loop())
    under_way = asyncio.create_task(asyncio.to_thread(gate.wait))
    await until(lambda: thread_counts()["agent"].running == 1)
    threads.end()
    assert thread_counts()["agent"] == (1, 1)
    assert await asyncio.to_thread(lambda: "later") == "later"
    gate.set()
    assert await under_way
    await until(lambda: thread_counts()["agent"] == (0, 0))


async def test_calls_that_outlive_a_job_do_not_wait_for_its_hung_threads(
    threads: JobThreads, gate: threading.Event
) -> None:
    install(asyncio.get_running_loop())
    held = [asyncio.create_task(in_thread(gate.wait)) for _ in range(MAX_THREADS)]
    await until(lambda: thread_counts()["agent"].running == MAX_THREADS)
    waiting = asyncio.create_task(asyncio.to_thread(lambda: "waiting"))
    assert (await asyncio.wait({waiting}, timeout=0.05))[0] == set()
    threads.end()
    assert await waiting == "waiting"
    assert await asyncio.to_thread(lambda: "later") == "later"
    await asyncio.wait(held)


async def test_a_call_for_which_no_thread_can_be_started_fails_and_the_next_one_does_not(
    threads: JobThreads, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", fails)
        for _ in range(MAX_THREADS):
            with pytest.raises(RuntimeError, match="new thread"):
                await in_thread(int)
    assert await in_thread(lambda: "next") == "next"


async def test_an_error_is_raised_where_the_call_was_made(threads: JobThreads) -> None:
    def raises(error: BaseException) -> None:
        raise error

    with pytest.raises(SystemExit):
        await in_thread(raises, SystemExit(3))
    with pytest.raises(RuntimeError, match="StopIteration"):
        await in_thread(raises, StopIteration())
