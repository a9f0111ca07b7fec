"""Jobs on a real worker and a real server: from the queue to the end in the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from holdfast.shared.ids import ORIGIN
from holdfast.shared.log.log_replies import Attempt, Event, Intents
from holdfast.shared.log.log_writer import LogWriter
from holdfast.shared.redis.errors import RedisConnectionError
from holdfast.worker import Run
from structlog.testing import capture_logs

from tests.support.log import said
from tests.support.process import until
from tests.support.workers import Client, worker_on

LONG = {"tokens": 100_000, "interval_ms": 5}
SHORT = {"tokens": 3, "interval_ms": 0}
SHORT_TEXT = "w0 w1 w2 "


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


class TestOneJob:
    async def test_its_events_are_in_the_log_its_end_in_its_record_and_its_entry_is_gone(
        self, redis_url: str, client: Client
    ) -> None:
        async with worker_on(redis_url) as worker:
            await client.offered("scripted")
            await client.post(options=SHORT | {"tools": 1}, metadata={"m": 1})
            end = await client.end()
            assert end["result"] == {"tokens": 3}
            tool = ["tool.started", "tool.arguments.delta", "tool.arguments.delta", "tool.called", "tool.result"]
            assert await client.kinds() == ["job.started", *tool, *["text.delta"] * 3, "job.completed"]
            state = await client.job()
            assert (state.status, state.attempt, state.worker) == ("completed", 1, worker.id)
            assert state.metadata == {"m": 1}
            messages = await said(client.sessions)
            assert [message["role"] for message in messages] == ["user", "assistant", "tool", "assistant"]
            assert messages[-1]["content"] == SHORT_TEXT
            assert (await client.sessions.messages("s")).cursor == state.end
            await client.empty()

    async def test_the_second_job_of_a_session_has_the_first_as_its_history(
        self, redis_url: str, client: Client
    ) -> None:
        seen: list[list[tuple[str, str]]] = []

        async def parrot(run: Run) -> None:
            seen.append([(message["role"], message["content"]) for message in run.history])
            await run.text(f"You said {run.input}")

        async with worker_on(redis_url, [parrot]):
            await client.offered("parrot")
            for job in ("one", "two"):
                await client.post(job=job, agent="parrot", input=job)
                await client.end(job=job)
        assert seen == [[], [("user", "one"), ("assistant", "You said one")]]

    async def test_an_agent_that_fails_keeps_what_it_said(self, redis_url: str, client: Client) -> None:
        async with worker_on(redis_url):
            await client.offered("scripted")
            await client.post(options={"interval_ms": 0, "fail_at": 2})
            end = await client.end()
            assert end["error"]["code"] == "agent_error"
            assert await client.said() == "w0 w1 "
            await client.empty()

    async def test_a_timeout_ends_it(self, redis_url: str, client: Client) -> None:
        async with worker_on(redis_url):
            await client.offered("scripted")
            await client.post(options=LONG, timeout_s=1)
            assert (await client.end())["error"]["code"] == "timeout"
            assert (await client.said()).startswith("w0 w1 ")

    async def test_a_million_tiny_tokens_do_not_outrun_the_log(self, redis_url: str, client: Client) -> None:
        async with worker_on(redis_url):
            await client.offered("scripted")
            await client.post(options={"tokens": 20_000, "interval_ms": 0})
            await client.end()
            assert await client.said() == "".join(f"w{number} " for number in range(20_000))

    async def test_an_agent_that_exits_the_process_does_not(self, redis_url: str, client: Client) -> None:
        async def leaver(run: Run) -> None:
            raise SystemExit(3)

        async with worker_on(redis_url, [leaver]):
            await client.offered("leaver")
            await client.post(agent="leaver")
            assert (await client.end())["error"]["message"] == "SystemExit: 3"
            await client.post(session="t", options=SHORT)
            assert (await client.end("t"))["type"] == "job.completed"


class TestLine:
    async def test_jobs_of_one_session_run_one_at_a_time_in_their_order(self, redis_url: str, client: Client) -> None:
        async with worker_on(redis_url), worker_on(redis_url):
            await client.offered("scripted")
            jobs = [f"j{number}" for number in range(6)]
            for job in jobs:
                await client.post(job=job, options=SHORT)
            await client.end(job="j5")
            entries = await client.entries()
            one = ["job.started", *["text.delta"] * 3, "job.completed"]
            assert [(entry.job_id, entry.kind) for entry in entries] == [(job, kind) for job in jobs for kind in one]
            await client.empty()

    async def test_an_interrupting_job_starts_after_the_end_of_the_one_it_interrupts(
        self, redis_url: str, client: Client
    ) -> None:
        async with worker_on(redis_url):
            await client.offered("scripted")
            await client.post(job="long", options=LONG)
            await client.spoke(job="long")
            await client.post(job="waits", options=SHORT)
            await client.post(job="now", options=SHORT, on_busy="interrupt")
            await client.end(job="waits")
            entries = await client.entries()
            assert (await client.end(job="long"))["by"] == "interrupt"
            order = list(dict.fromkeys(entry.job_id for entry in entries))
            assert order == ["long", "now", "waits"]
            await client.empty()


class TestCancel:
    async def test_before_its_start(self, redis_url: str, client: Client) -> None:
        await client.offered_agents.offer({"scripted": {}})
        await client.post(options=SHORT)
        await client.cancel()
        async with worker_on(redis_url):
            assert (await client.end())["by"] == "user"
            assert await client.kinds() == ["job.cancelled"]
            await client.empty()

    async def test_while_it_runs(self, redis_url: str, client: Client) -> None:
        async with worker_on(redis_url):
            await client.offered("scripted")
            await client.post(options=LONG)
            await client.spoke(tokens=3)
            await client.cancel()
            await client.cancel()
            assert (await client.end())["by"] == "user"
            assert (await client.kinds()).count("job.cancelled") == 1
            assert (await client.said()).startswith("w0 w1 w2 ")
            await client.empty()

    async def test_while_it_runs_and_the_message_is_lost(self, redis_url: str, client: Client) -> None:
        async with worker_on(redis_url):
            await client.offered("scripted")
            await client.post(options=LONG)
            await client.spoke()
            await client.sessions.cancel("s", "j1", "user")  # the next append's answer tells of it
            assert (await client.end())["by"] == "user"

    async def test_while_it_runs_and_the_log_s_word_is_lost(
        self, redis_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Who asks what is wanted takes the sign of it away: without the answer it has to ask again."""
        looked, lost, intents = asyncio.Event(), asyncio.Event(), LogWriter.intents

        async def losing_one(log_writer: LogWriter, session_id: str, epoch: int) -> Intents:
            answer = await intents(log_writer, session_id, epoch)
            looked.set()
            if answer.cancel and not lost.is_set():
                lost.set()
                raise RedisConnectionError
            return answer

        monkeypatch.setattr(LogWriter, "intents", losing_one)
        async with worker_on(redis_url):
            await client.offered("scripted")
            await client.post(options=LONG)
            await looked.wait()
            await client.sessions.cancel("s", "j1", "user")
            await lost.wait()
            await client.end()
            state = await client.job()
            assert state.end is not None
            assert state.first is not None
            assert state.end.epoch == state.first.epoch  # by its lease owner, and not by who lost patience with it

    async def test_while_it_is_silent_and_the_message_is_lost(
        self, redis_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("holdfast.worker.process.deliveries.INTENT_POLL_SECONDS", 0.1)
        async with worker_on(redis_url, [silent]):
            await client.offered("silent")
            await client.post(agent="silent")
            await client.running()
            await client.sessions.cancel("s", "j1", "user")
            assert (await client.end())["by"] == "user"

    async def test_while_the_log_of_another_session_does_not_answer(
        self, redis_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """All sessions were looked at together, and none again before the last had answered."""
        asked, intents = asyncio.Event(), LogWriter.intents

        async def answering_for_others(log_writer: LogWriter, session_id: str, epoch: int) -> Intents:
            if session_id == "stuck":
                asked.set()
                await asyncio.Event().wait()
            return await intents(log_writer, session_id, epoch)

        monkeypatch.setattr(LogWriter, "intents", answering_for_others)
        async with worker_on(redis_url, [silent]):
            await client.offered("silent")
            for session in ("stuck", "s"):
                await client.post(session, agent="silent")
                await client.running(session)
            await client.cancel("stuck")
            await asked.wait()
            await client.cancel()
            await client.end()
            state = await client.job()
            assert state.end is not None
            assert state.first is not None
            assert state.end.epoch == state.first.epoch  # by its lease owner, and not by who found it stuck

    async def test_while_it_waits_in_line_leaves_the_running_one_alone(self, redis_url: str, client: Client) -> None:
        async with worker_on(redis_url):
            await client.offered("scripted")
            await client.post(job="runs", options={"tokens": 50, "interval_ms": 5})
            await client.post(job="waits", options=SHORT)
            await client.post(job="last", options=SHORT)
            await client.spoke(job="runs")
            await client.cancel(job="waits")
            assert (await client.end(job="waits"))["by"] == "user"
            assert (await client.job(job="runs")).status == "running"
            assert (await client.end(job="runs"))["type"] == "job.completed"
            assert (await client.end(job="last"))["type"] == "job.completed"
            entries = await client.entries()
            epochs = {entry.id.epoch for entry in entries if entry.job_id in ("runs", "waits")}
            assert len(epochs) == 1
            assert (await client.job(job="runs")).attempt == 1
            await client.empty()

    async def test_after_its_end(self, redis_url: str, client: Client) -> None:
        async with worker_on(redis_url):
            await client.offered("scripted")
            await client.post(options=SHORT)
            await client.end()
            await client.cancel()
            await client.empty()
            assert (await client.kinds())[-1] == "job.completed"

    async def test_of_an_agent_that_does_not_stop(
        self, redis_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("holdfast.worker.attempt.jobs.STOPPING_SECONDS", 0.1)
        released = asyncio.Event()

        async def stubborn(run: Run) -> None:
            await run.text("no")
            while not released.is_set():
                try:
                    await released.wait()
                except asyncio.CancelledError:
                    continue

        async with worker_on(redis_url, [stubborn]):
            await client.offered("stubborn")
            await client.post(agent="stubborn")
            await client.spoke()
            await client.cancel()
            assert (await client.end())["by"] == "user"
            released.set()

    async def test_races_with_the_end_and_there_is_still_one_end(self, redis_url: str, client: Client) -> None:
        async with worker_on(redis_url), worker_on(redis_url):
            await client.offered("scripted")
            sessions = [f"s{number}" for number in range(60)]
            for number, session in enumerate(sessions):
                await client.post(session, options={"tokens": 1, "interval_ms": 0})
                await asyncio.sleep(number % 6 / 2000)
                await client.cancel(session)
            for session in sessions:
                await client.end(session)
                kinds = await client.kinds(session)
                assert sum(kind in ("job.completed", "job.cancelled") for kind in kinds) == 1
                assert kinds[-1] in ("job.completed", "job.cancelled")
            await client.empty()


class TestDelete:
    async def test_of_a_session_whose_job_runs_ends_the_job_and_forgets_it(
        self, redis_url: str, client: Client
    ) -> None:
        async with worker_on(redis_url) as worker:
            await client.offered("scripted")
            await client.post(options=LONG)
            await client.post(job="waits", options=SHORT)
            await client.spoke()
            await client.delete()

            async def deleted() -> bool:
                return [entry.kind for entry in (await client.log.read("s", ORIGIN)).entries][-1:] == [
                    "session.deleted"
                ]

            await until(deleted)
            await until(lambda: worker.free_slots == worker.max_jobs)
            left = [key async for key in client.redis.scan_iter("holdfast:{s}:*")]
            assert left == [b"holdfast:{s}:log"]
            assert await client.redis.ttl("holdfast:{s}:log") > 0


class TestTrouble:
    async def test_a_reply_lost_after_the_write_is_retried_and_doubles_nothing(
        self, redis_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for name in ("claim", "append", "finish"):
            monkeypatch.setattr(LogWriter, name, _losing_replies(getattr(LogWriter, name)))
        async with worker_on(redis_url):
            await client.offered("scripted")
            await client.post(options={"tokens": 20, "interval_ms": 1, "tools": 1})
            await client.end()
            assert (await client.kinds()).count("job.started") == 1
            assert (await client.kinds()).count("job.completed") == 1
            assert await client.said() == "".join(f"w{number} " for number in range(20))
            await client.empty()

    async def test_a_fenced_attempt_writes_nothing_and_its_agent_stops(self, redis_url: str, client: Client) -> None:
        stopped = asyncio.Event()

        async def talker(run: Run) -> None:
            try:
                while True:
                    await run.text("zombie ")
                    await asyncio.sleep(0.005)
            finally:
                stopped.set()

        async with worker_on(redis_url, [talker]):
            await client.offered("talker")
            await client.post(agent="talker")
            await client.spoke()
            claimed = await client.log_writer.claim(
                "s", "j1", delivery=9, claim_id="t", worker_id="other", offered=True
            )
            assert isinstance(claimed, Attempt)
            await asyncio.wait_for(stopped.wait(), 10)
            end = Event("job.completed", "j1", b'{"type":"job.completed","job_id":"j1","result":null}')
            await client.log_writer.finish("s", claimed.epoch, 1, end, messages=[], usage=b"")
            assert (await client.kinds())[-2:] == ["job.started", "job.completed"]
            await client.empty()

    async def test_a_log_that_vanished_ends_the_job_with_an_error(self, redis_url: str, client: Client) -> None:
        async with worker_on(redis_url):
            await client.offered("scripted")
            await client.post(options=LONG)
            await client.spoke()
            await client.log_redis.delete("holdfast:{s}:log")
            assert (await client.end())["error"]["code"] == "log_lost"
            [entry] = (await client.log.read("s", (await client.job()).before or ORIGIN)).entries[-1:]
            assert entry.kind == "job.failed"
            await client.empty()

    async def test_an_unreadable_entry_still_ends_its_job(self, redis_url: str, client: Client) -> None:
        async with worker_on(redis_url):
            await client.offered("scripted")
            await client.queue.reserve("s", "j1", "scripted")
            await client.redis.hset("holdfast:queue:tokens", "s/ghost", b"\x80 no json")
            await client.redis.zadd("holdfast:queue:deferred", {"s/ghost": 1})
            await client.queue.discard("s", "j1", "scripted")
            await client.empty()


async def silent(run: Run) -> None:
    await asyncio.Event().wait()


def _losing_replies(call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, whose first reply and every third after it is lost on its way."""
    count = 0

    async def losing(*arguments: Any, **named: Any) -> Any:
        nonlocal count
        count += 1
        answer = await call(*arguments, **named)
        if count % 3 == 1:
            raise RedisConnectionError("the reply was lost")
        return answer

    return losing


async def test_the_deletion_of_a_session_on_request_is_no_warning(redis_url: str, client: Client) -> None:
    with capture_logs() as lines:
        async with worker_on(redis_url):
            await client.offered("scripted")
            await client.post(options={"tokens": 100_000, "interval_ms": 5})
            await client.spoke()
            await client.delete()
            await client.empty()
    assert [line["event"] for line in lines if line["log_level"] not in ("info", "debug")] == []
    (deleted,) = [line for line in lines if "deleted" in line["event"]]
    assert (deleted["session_id"], deleted["job_id"]) == ("s", "j1")


async def test_invalid_options_are_logged_with_their_field_and_the_reason(redis_url: str, client: Client) -> None:
    with capture_logs() as lines:
        async with worker_on(redis_url):
            await client.offered("scripted")
            await client.post(options={"tokens": "a secret"})
            await client.end()
            await client.empty()
    (failed,) = [line for line in lines if line["event"] == "job failed"]
    assert failed["code"] == "options_invalid"
    assert "tokens" in failed["reason"]
    assert "secret" not in failed["reason"]
