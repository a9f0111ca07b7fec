"""Redis refuses for good: the job of which it does ends and says why, and other sessions notice nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx2
import pytest
from holdfast.shared.keys import session_keys
from holdfast.shared.redis.client import Redis
from holdfast.worker import Run
from holdfast.worker.process import delivery
from structlog.testing import capture_logs

from tests.support.process import until
from tests.support.redis_server import RedisServer
from tests.support.scene import scene
from tests.support.served import served
from tests.support.sse import SseStream
from tests.support.workers import Client, worker_on

StartRedis = Callable[..., RedisServer]
AdminOf = Callable[[str], Redis]
KEYS = session_keys("s")
RIGHTS = ["on", ">secret", "~*", "+@all"]


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "REFUSED_SECONDS", 0.1, raising=False)


@pytest.fixture
async def beside(redis_url: str, client: Client) -> AsyncIterator[None]:
    """Another session, whose job runs meanwhile and comes to its end."""
    async with worker_on(redis_url, [stepping], queue_seconds=1):
        await client.offered("scripted")
        await client.post("beside", options={"tokens": 100, "interval_ms": 20})
        await client.spoke("beside")
        yield
        assert (await client.end("beside"))["type"] == "job.completed"
        assert (await client.job("beside")).attempt == 1
        await client.empty()


async def stepping(run: Run) -> None:
    for number in range(20):
        await run.step(f"step {number}", int)
        await run.text("a")
    await run.step("never", int)


async def ruin(redis: Redis, key: str) -> None:
    """Put a value of another type in a key's place, as only somebody else can."""
    await redis.transaction(("DEL", key), ("SET", key, "foreign"))


@pytest.mark.parametrize("key", [KEYS.log, KEYS.messages])
async def test_f74_a_running_job_whose_session_has_a_foreign_value_ends_and_says_why_in_the_log_line(
    client: Client, beside: None, key: str
) -> None:
    with capture_logs() as lines:
        await client.post(options={"tokens": 50, "interval_ms": 20})
        await client.spoke()
        await ruin(client.redis, key)
        end = await client.end()
    reasons = [line["reason"] for line in lines if line["event"] == "redis refuses a job"]
    assert any("WRONGTYPE" in reason for reason in reasons)
    assert "WRONGTYPE" not in str(end)
    if key == KEYS.log:
        assert end["error"]["code"] == "log_error"


async def test_f74_a_step_that_cannot_be_recorded_ends_its_job_with_an_event_in_the_log(
    client: Client, beside: None
) -> None:
    await ruin(client.redis, KEYS.journal)
    await client.post(agent="stepping")
    assert (await client.end())["error"]["code"] == "log_error"
    assert (await client.kinds())[-1] == "job.failed"


async def test_f74_a_job_that_cannot_even_be_claimed_ends_in_its_record_and_so_does_the_next(
    client: Client, beside: None
) -> None:
    await client.redis.set(KEYS.log, "foreign")
    for job in ("j1", "j2"):
        await client.post("s", job, options={"tokens": 1})
    for job in ("j1", "j2"):
        assert (await client.end("s", job))["error"]["code"] == "log_error"


@pytest.mark.parametrize("key", [KEYS.state, KEYS.jobs])
async def test_f74_a_job_whose_record_cannot_be_written_is_given_up_when_it_has_waited_long_enough(
    client: Client, beside: None, key: str
) -> None:
    with capture_logs() as lines:
        await client.post(options={"tokens": 50, "interval_ms": 20})
        await client.spoke()
        await ruin(client.redis, key)
        await client.empty()
    assert [line["job_id"] for line in lines if line["event"] == "job given up"] == ["j1"]


async def test_f74_a_worker_that_may_not_write_to_logs_any_more_ends_its_jobs_and_later_ones_run(
    redis_server: StartRedis, admin_of: AdminOf
) -> None:
    server = redis_server()
    admin, url = admin_of(server.url), server.url.replace("redis://", "redis://worker:secret@")
    await admin.execute_command("ACL", "SETUSER", "worker", *RIGHTS)
    async with scene(server.url) as play, worker_on(url):
        await play.client.offered("scripted")
        for session in ("s", "t"):
            await play.post(session, tokens=100_000)
            await play.client.spoke(session)
        viewer = play.watch("t")
        await play.heard(3)
        await admin.execute_command("ACL", "SETUSER", "worker", "-xadd")
        for session in ("s", "t"):
            assert (await play.client.end(session))["error"]["code"] == "log_error"
        await admin.execute_command("ACL", "SETUSER", "worker", "+xadd")
        await play.client.post("t", "j2", options={"tokens": 3})
        assert (await play.client.end("t", "j2"))["type"] == "job.completed"
        await until(lambda: any(event.kind == "job.completed" for event in viewer.transcript.events()))
        assert len(viewer.transcript.gaps()) == 1  # in place of the end that the log does not have
        await play.client.empty()


async def test_f74_the_end_that_only_the_record_has_is_read_from_state_and_stream_of_the_job(
    redis_server: StartRedis, admin_of: AdminOf
) -> None:
    server = redis_server()
    admin, url = admin_of(server.url), server.url.replace("redis://", "redis://worker:secret@")
    await admin.execute_command("ACL", "SETUSER", "worker", *RIGHTS)
    client = Client(server.url)
    async with served(server.url) as gateway, worker_on(url):
        await client.offered("scripted")
        await client.post(options={"tokens": 100_000})
        await client.spoke()
        await admin.execute_command("ACL", "SETUSER", "worker", "-xadd")
        await client.end()
        state: httpx2.Response = await gateway.client.get("/v1/sessions/s/jobs/j1")
        assert state.json()["status"] == "failed"
        assert state.json()["error"]["code"] == "log_error"
        async with SseStream(f"{gateway.url}/v1/sessions/s/jobs/j1/events?raw=true") as stream:
            last = [frame.json async for frame in stream][-1]
        assert (last["type"], last["error"]["code"]) == ("job.failed", "log_error")
    await client.close()
