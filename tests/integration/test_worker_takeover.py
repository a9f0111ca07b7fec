"""Workers as processes of their own, killed, frozen and told to stop: another one has the job, and it is told once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import orjson
import pytest
from holdfast.shared.log.events import TERMINAL

from tests.support.log import said
from tests.support.process import Process, Processes
from tests.support.workers import Client

Start = Callable[..., Process]
SOME = {"tokens": 60, "interval_ms": 20}


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


@pytest.fixture
def start(processes: Processes, redis_url: str, tmp_path: Path) -> Start:
    """`start(HOLDFAST_…="…")` starts a worker with a lease of a second and the agents below."""
    (tmp_path / "agents_of_this_test.py").write_text(AGENTS)
    common = {
        "HOLDFAST_LEASE_SECONDS": "1",
        "HOLDFAST_LOG_FORMAT": "json",
        "HOLDFAST_AGENTS": "agents_of_this_test",
        "PYTHONPATH": str(tmp_path),
    }
    return lambda **env: processes.worker(redis_url, **(common | env))


AGENTS = """
import asyncio, time
from holdfast.worker import agent

@agent
async def patient(run):
    await run.text(f"attempt {run.attempt} ")
    if run.attempt == 1:
        await asyncio.Event().wait()
    await run.text("and done")

@agent
async def chatty(run):
    await run.text(f"attempt {run.attempt} ")
    while run.attempt == 1:
        await run.text("zombie ")
        await asyncio.sleep(0.005)
    await run.text("and done")

@agent
async def swallows(run):
    await run.text("no")
    while True:
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            pass

@agent
def blocks_its_thread(run):
    run.text("no")
    time.sleep(3600)

@agent
async def blocks_the_loop(run):
    await run.text(f"attempt {run.attempt} ")
    await run.flush()
    if run.attempt == 1:
        time.sleep(6)
        await run.text("zombie")
    await run.text("and done")
"""
DONE = "attempt 2 and done"


async def told_honestly(client: Client, session: str = "s", job: str = "j1", *, attempts: int) -> None:
    """The log tells each attempt once, says what to discard, and ends the job once, last."""
    events = await client.events(session, job)
    kinds = [event["type"] for event in events]
    starts = [event for event in events if event["type"] == "job.started"]
    assert [event["attempt"] for event in starts] == list(range(1, attempts + 1))
    first = (await client.job(session, job)).first
    assert [event.get("discard_from") for event in starts] == [None, *[str(first)] * (attempts - 1)]
    assert sum(kind in TERMINAL for kind in kinds) == 1
    assert kinds[-1] in TERMINAL


def words(count: int) -> str:
    return "".join(f"w{number} " for number in range(count))


async def test_a_job_whose_worker_is_killed_is_taken_over(client: Client, start: Start) -> None:
    first = start()
    await client.offered("patient")
    await client.post(agent="patient")
    await client.spoke()
    start()
    first.kill()
    assert (await client.end())["type"] == "job.completed"
    await told_honestly(client, attempts=2)
    assert await client.said() == DONE
    await client.empty()
    messages = await said(client.sessions)
    assert [message["content"] for message in messages] == ["hi", DONE]


async def test_all_jobs_of_a_killed_worker_are_taken_over_by_those_that_live(client: Client, start: Start) -> None:
    first = start()
    await client.offered("scripted")
    sessions = [f"s{number}" for number in range(20)]
    for session in sessions:
        await client.post(session, agent="patient")
    for session in sessions:
        await client.spoke(session)
    start()
    start()
    first.kill()
    for session in sessions:
        assert (await client.end(session))["type"] == "job.completed"
        await told_honestly(client, session, attempts=2)
    await client.empty()


async def test_a_zombie_writes_nothing(client: Client, start: Start) -> None:
    zombie = start()
    await client.offered("chatty")
    await client.post(agent="chatty")
    await client.spoke(tokens=5)
    successor = start()
    zombie.stop()
    assert (await client.end())["type"] == "job.completed"
    await client.empty()
    before = await client.entries()
    zombie.cont()
    await zombie.until_output("job lost")
    await told_honestly(client, attempts=2)
    assert await client.entries() == before
    assert await client.said() == DONE
    assert zombie.running
    assert successor.running
    await client.empty()


async def test_a_worker_that_is_told_to_stop_finishes_what_it_can(client: Client, start: Start) -> None:
    worker = start()
    await client.offered("scripted")
    await client.post(options=SOME)
    await client.spoke()
    worker.terminate()
    await worker.until_output("worker stops")
    await client.post("t", options={"tokens": 1})
    assert await worker.wait() == 0
    assert (await client.end())["type"] == "job.completed"
    await told_honestly(client, attempts=1)
    assert (await client.job("t")).status == "queued"
    assert await client.leases.workers() == {}


@pytest.mark.parametrize("hurry", [False, True], ids=["its grace over", "told twice"])
async def test_a_worker_that_must_stop_gives_its_jobs_back_at_once(
    client: Client, start: Start, *, hurry: bool
) -> None:
    first = start(HOLDFAST_GRACE_SECONDS="600" if hurry else "0.2")
    await client.offered("patient")
    sessions = ("s", "t", "u")
    for session in sessions:
        await client.post(session, agent="patient")
        await client.spoke(session)
    second = start(HOLDFAST_LEASE_SECONDS="600")  # nothing would be taken over in time
    await second.until_output("worker started")
    first.terminate()
    if hurry:
        await first.until_output("worker stops")
        first.terminate()
    assert await first.wait() == 0
    for session in sessions:
        assert (await client.end(session))["type"] == "job.completed"
        await told_honestly(client, session, attempts=2)
        assert await client.said(session) == DONE
        assert await client.log_redis.hget(f"holdfast:{{{session}}}:jobs", "j1:strikes") == b"0"
    await client.empty()


async def test_an_agent_that_never_stops_does_not_hold_up_the_process(client: Client, start: Start) -> None:
    worker = start(HOLDFAST_GRACE_SECONDS="0.1")
    await client.offered("swallows", "blocks_its_thread")
    await client.post("s", agent="swallows")
    await client.post("t", agent="blocks_its_thread")
    for session in ("s", "t"):
        await client.spoke(session)
    worker.terminate()
    assert await worker.wait() == 0
    for session in ("s", "t"):
        assert (await client.job(session)).status == "queued"


async def test_a_job_that_kills_its_worker_once_is_done_by_the_next(client: Client, start: Start) -> None:
    start()
    start()
    await client.offered("scripted")
    await client.post(options={"tokens": 10, "interval_ms": 1, "crash_at": 7})
    assert (await client.end())["type"] == "job.completed"
    await told_honestly(client, attempts=2)
    entries = [orjson.loads(entry.body) for entry in await client.entries() if entry.id.epoch == (await _first(client))]
    assert "".join(event.get("text", "") for event in entries) == words(7)
    assert await client.said() == words(10)


async def _first(client: Client) -> int:
    first = (await client.job()).first
    assert first is not None
    return first.epoch


async def test_a_job_that_kills_every_process_ends_as_poisoned(client: Client, start: Start) -> None:
    workers = [start(HOLDFAST_MAX_ATTEMPTS="2") for _ in range(3)]
    await client.offered("scripted")
    await client.post(options={"tokens": 10, "interval_ms": 1, "crash_at": 3, "crash_always": True})
    assert (await client.end())["error"]["code"] == "poisoned"
    await told_honestly(client, attempts=2)
    assert await client.said() == words(3)
    await client.post("t", options={"tokens": 1})
    assert (await client.end("t"))["type"] == "job.completed"
    assert sum(worker.running for worker in workers) == 2
    await client.empty()


async def test_a_worker_whose_loop_is_blocked_loses_its_job_and_lives(client: Client, start: Start) -> None:
    blocked = start()
    await client.offered("blocks_the_loop")
    await client.post(agent="blocks_the_loop")
    await client.spoke()
    start()
    assert (await client.end())["type"] == "job.completed"
    await blocked.until_output("job lost")
    await told_honestly(client, attempts=2)
    assert await client.said() == DONE
    assert blocked.running


async def test_start_up_says_what_is_wrong(processes: Processes, redis_url: str) -> None:
    for env, says in (
        ({"HOLDFAST_AGENTS": "no_such_module"}, "HOLDFAST_AGENTS: no_such_module cannot be imported"),
        ({"HOLDFAST_AGENTS": "my_agent.py"}, "HOLDFAST_AGENTS: my_agent.py is a file; name its module: my_agent"),
        ({"HOLDFAST_MAX_JOBS": "0"}, "HOLDFAST_MAX_JOBS"),
    ):
        worker = processes.worker(redis_url, **env)
        assert await worker.wait() == 2
        assert says in worker.output()


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(:", "broken_agents cannot be imported: SyntaxError: invalid syntax (broken_agents.py, line 1)"),
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module' (broken_agents.py, line 1)"),
        ("import sys\nsys.exit(3)", "broken_agents cannot be imported: SystemExit: 3 (broken_agents.py, line 2)"),
        ("x = 1", "broken_agents has no agent: mark a function with @agent"),
    ],
)
async def test_a_broken_module_is_one_line_and_the_agents_of_the_others_are_offered(
    client: Client, start: Start, tmp_path: Path, source: str, reason: str
) -> None:
    (tmp_path / "broken_agents.py").write_text(source)
    (tmp_path / "whole_agents.py").write_text(
        "from holdfast.worker import agent\n@agent\nasync def whole(run): return 1\n"
    )
    worker = start(HOLDFAST_AGENTS="broken_agents,whole_agents", PYTHONPATH=str(tmp_path))
    await client.offered("whole")
    await client.post(agent="whole")
    assert (await client.end())["result"] == 1
    [line] = [line for line in worker.output().splitlines() if "broken_agents" in line]
    assert orjson.loads(line)["reason"].endswith(reason)


async def test_a_worker_waits_for_a_redis_that_is_not_there_yet(redis_url: str, processes: Processes) -> None:
    worker = processes.worker("redis://127.0.0.1:1/0", HOLDFAST_LOG_FORMAT="json")
    await worker.until_output("redis is unavailable")
    worker.terminate()
    assert await worker.wait() == 0


async def test_its_lines_name_session_job_agent_and_time(client: Client, start: Start) -> None:
    worker = start()
    await client.offered("scripted")
    await client.post(options={"tokens": 2, "interval_ms": 0}, input="a secret")
    await client.end()
    await worker.until_output("job completed")
    lines = [orjson.loads(line) for line in worker.output().splitlines()]
    [line] = [line for line in lines if line["event"] == "job completed"]
    assert (line["session_id"], line["job_id"], line["agent"], line["level"]) == ("s", "j1", "scripted", "info")
    assert isinstance(line["ms"], int)
    assert "a secret" not in worker.output()
    assert len(lines) <= 10
