"""One attempt from its claim to its end, against a log in memory: however the agent behaves, there is one end."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any, cast
from unittest.mock import AsyncMock

import orjson
import pytest
from holdfast.shared.errors import EventInvalid, Fenced, LogGone
from holdfast.shared.log.events import TERMINAL
from holdfast.shared.log.log_replies import Appended, Attempt, Event, Finished, Head, Intents, Refusal
from holdfast.shared.log.log_writer import LogWriter
from holdfast.shared.redis.errors import RedisConnectionError
from holdfast.worker import AgentError, Run
from holdfast.worker.attempt.ending import cancelled
from holdfast.worker.attempt.jobs import Job
from holdfast.worker.attempt.thread_run import ThreadRun
from holdfast.worker.process.outage import Outage
from holdfast.worker.process.settings import WorkerSettings
from holdfast.worker.sdk.registry import Agent
from holdfast.worker.sdk.run import RunEnded
from holdfast.worker.sdk.signature import bound, input_of

NEXT = Head("next", "agent")


class StandInLogWriter:
    """Takes everything and keeps it. `error`, once set, is raised by every write."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.messages: list[dict[str, Any]] = []
        self.usage = b""
        self.error: Exception | None = None
        self.ended_lost = False
        self.released = False

    async def append(self, session_id: str, epoch: int, after_seq: int, events: Sequence[Event]) -> Appended:
        self._take(events)
        return Appended(after_seq + len(events), attention=False)

    async def finish(
        self, session_id: str, epoch: int, after_seq: int, event: Event, *, messages: Sequence[bytes], usage: bytes
    ) -> Finished:
        self._take([event])
        self.messages = [orjson.loads(message) for message in messages]
        self.usage = usage
        return Finished(after_seq + 1, NEXT)

    async def intents(self, session_id: str, epoch: int) -> Intents:
        self._take([])
        return Intents({}, deleted=False)

    async def end_lost(self, attempt: Attempt) -> Refusal:
        self.ended_lost = True
        return Refusal("ended", head=NEXT)

    async def release(self, session_id: str, epoch: int) -> None:
        self.released = True

    def _take(self, events: Sequence[Event]) -> None:
        if self.error is not None:
            raise self.error
        self.events += events

    @property
    def end(self) -> dict[str, Any]:
        [end] = [orjson.loads(event.body) for event in self.events if event.kind in TERMINAL]
        assert self.events[-1].kind == end["type"]
        assert isinstance(end.pop("at"), int)
        return cast("dict[str, Any]", end)

    @property
    def text(self) -> str:
        return "".join(orjson.loads(event.body)["text"] for event in self.events if event.kind == "text.delta")


@pytest.fixture
def log_writer() -> StandInLogWriter:
    return StandInLogWriter()


@pytest.fixture(autouse=True)
def _little_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.worker.attempt.jobs.STOPPING_SECONDS", 0.1)


def job(
    log_writer: StandInLogWriter,
    function: Callable[..., Any],
    *,
    given: bytes = b'"hi"',
    timeout_s: float = 30,
    places: bool = False,
) -> Job:
    attempt = Attempt(
        *("s", "j", "token"),
        epoch=1763683200123,
        number=1,
        agent="a",
        input=given,
        options=b'{"o":1}',
        metadata=b'{"m":2}',
        timeout_s=cast("int", timeout_s),
        discard_from=None,
        last=False,
    )

    sessions = AsyncMock()
    sessions.history.return_value = [{"role": "user", "content": "before", "job_id": "earlier"}]
    return Job(
        attempt,
        Agent("a", function, {}),
        WorkerSettings(batch_ms=0, ask_seconds=60, error_places=places),
        cast("LogWriter", log_writer),
        sessions,
        Outage("log"),
        on_intent=lambda: None,
        on_wait_changed=lambda: None,
        retire=AsyncMock(),
    )


class TestHowAnAgentEnds:
    async def test_what_it_returns_is_the_result(self, log_writer: StandInLogWriter) -> None:
        async def speak(run: Run) -> dict[str, Any]:
            await run.text("Hel")
            await run.text("lo")
            await run.usage(1, 2, "m")
            return {"answer": [run.input, run.options, run.metadata, run.history[0]["content"]]}

        ending, head = await job(log_writer, speak).run()
        result = {"answer": ["hi", {"o": 1}, {"m": 2}, "before"]}
        assert log_writer.end == {"type": "job.completed", "job_id": "j", "result": result}
        assert log_writer.text == "Hello"
        assert [message["content"] for message in log_writer.messages] == ["hi", "Hello"]
        assert orjson.loads(log_writer.usage) == {"input_tokens": 1, "output_tokens": 2, "model": "m"}
        assert (ending.kind, head) == ("job.completed", NEXT)

    async def test_what_a_generator_yields_is_text(self, log_writer: StandInLogWriter) -> None:
        async def speak(run: Run) -> AsyncIterator[str]:
            yield "Hel"
            yield "lo"

        await job(log_writer, speak).run()
        assert (log_writer.text, log_writer.end["result"]) == ("Hello", None)

    async def test_a_synchronous_agent_runs_in_a_thread_of_its_own(self, log_writer: StandInLogWriter) -> None:
        loop_thread = threading.current_thread()

        def speak(run: ThreadRun) -> bool:
            run.text("Hello")
            return threading.current_thread() is not loop_thread

        await job(log_writer, speak).run()
        assert (log_writer.text, log_writer.end["result"]) == ("Hello", True)

    async def test_a_synchronous_generator_speaks_too(self, log_writer: StandInLogWriter) -> None:
        def speak(run: ThreadRun) -> Iterator[str]:
            yield "Hel"
            yield "lo"

        await job(log_writer, speak).run()
        assert log_writer.text == "Hello"

    @pytest.mark.parametrize("kind", ["async", "sync", "typed"])
    async def test_an_agent_that_yields_no_text_is_told_what_it_yielded_and_where(
        self, log_writer: StandInLogWriter, kind: str
    ) -> None:
        async def streamed(run: Run) -> AsyncIterator[Any]:
            yield 42

        def spoken(run: ThreadRun) -> Iterator[Any]:
            yield 42

        async def typed(run: Run, text: str = "") -> AsyncIterator[Any]:
            yield 42

        taken = input_of(typed)
        assert taken is not None
        wrapped: dict[str, Callable[..., Any]] = {"async": streamed, "sync": spoken, "typed": bound(typed, taken)}
        inner: dict[str, Callable[..., Any]] = {"async": streamed, "sync": spoken, "typed": typed}
        await job(log_writer, wrapped[kind], given=b"{}", places=True).run()
        place = f"test_jobs.py:{inner[kind].__code__.co_firstlineno + 1}"
        message = f"TypeError: agent a yielded int 42; yield str ({place})"
        assert log_writer.end["error"]["message"] == message

    async def test_a_long_value_in_place_of_a_text_is_cut(self, log_writer: StandInLogWriter) -> None:
        async def streamed(run: Run) -> AsyncIterator[Any]:
            yield list(range(10_000))

        await job(log_writer, streamed).run()
        assert len(log_writer.end["error"]["message"]) < 100

    @pytest.mark.parametrize("places", [True, False])
    async def test_the_place_of_an_error_is_in_its_message_only_where_that_is_wanted(
        self, log_writer: StandInLogWriter, places: bool
    ) -> None:
        async def speak(run: Run) -> None:
            run.options["shipping_date"]

        await job(log_writer, speak, places=places).run()
        place = f" (test_jobs.py:{speak.__code__.co_firstlineno + 1})" if places else ""
        assert log_writer.end["error"]["message"] == f"KeyError: 'shipping_date'{place}"

    @pytest.mark.parametrize(
        ("error", "expected"),
        [
            (AgentError("quota", "Try later", retryable=True), ("quota", "Try later", True)),
            (ValueError("bad"), ("agent_error", "ValueError: bad", False)),
            (EventInvalid("no"), ("event_invalid", "no", False)),
            (SystemExit(3), ("agent_error", "SystemExit: 3", False)),
            (KeyboardInterrupt(), ("agent_error", "KeyboardInterrupt", False)),
            (asyncio.CancelledError(), ("agent_error", "CancelledError", False)),
            (StopIteration(), ("agent_error", "RuntimeError: coroutine raised StopIteration", False)),
            (ValueError("\ud800" + "x" * 1000), ("agent_error", "ValueError: ?" + "x" * 487, False)),
        ],
        ids=lambda value: type(value).__name__,
    )
    async def test_what_it_raises_is_the_error_and_what_it_said_stays(
        self, log_writer: StandInLogWriter, error: BaseException, expected: tuple[str, str, bool]
    ) -> None:
        async def speak(run: Run) -> None:
            await run.text("partial")
            raise error

        await job(log_writer, speak).run()
        code, message, retryable = expected
        assert log_writer.end["error"] == {"code": code, "message": message, "retryable": retryable}
        assert log_writer.text == "partial"
        assert log_writer.messages[-1]["content"] == "partial"

    async def test_what_a_thread_raises_is_the_error(self, log_writer: StandInLogWriter) -> None:
        def speak(run: ThreadRun) -> None:
            raise StopIteration

        await job(log_writer, speak).run()
        assert log_writer.end["type"] == "job.failed"

    @pytest.mark.parametrize(
        "result", [object(), {1: 2}, "\ud800", ["x" * 300_000], float], ids=lambda result: type(result).__name__
    )
    async def test_a_result_that_is_no_event_fails_the_job(self, log_writer: StandInLogWriter, result: Any) -> None:
        async def speak(run: Run) -> Any:
            return result

        await job(log_writer, speak).run()
        assert log_writer.end["error"]["code"] == "result_invalid"


class TestWhenItLooks:
    async def test_one_look_is_owed_whatever_the_log_tells(self, log_writer: StandInLogWriter) -> None:
        attempt = job(log_writer, lambda run: None)
        attempt.context.intents_read_at = 100
        assert attempt.intents_unknown_since(since=-1e9)
        await attempt.poll_intents()
        assert not attempt.intents_unknown_since(since=99)

    async def test_it_is_time_when_nothing_was_heard_since(self, log_writer: StandInLogWriter) -> None:
        attempt, now = job(log_writer, lambda run: None), asyncio.get_running_loop().time()
        await attempt.poll_intents()
        assert not attempt.intents_unknown_since(since=now)
        assert attempt.intents_unknown_since(since=now + 3600)
        attempt.context.intents_read_at = now + 3600
        assert not attempt.intents_unknown_since(since=now + 3600)

    async def test_a_look_that_failed_is_owed(self, log_writer: StandInLogWriter) -> None:
        attempt = job(log_writer, lambda run: None)
        await attempt.poll_intents()
        log_writer.error = RedisConnectionError()
        await attempt.poll_intents()
        attempt.context.intents_read_at = 1e9
        assert attempt.intents_unknown_since(since=-1e9)


class TestHowOthersEndIt:
    async def test_a_timeout_fails_the_job_and_keeps_what_was_said(self, log_writer: StandInLogWriter) -> None:
        async def speak(run: Run) -> None:
            await run.text("partial")
            await asyncio.Event().wait()

        await job(log_writer, speak, timeout_s=0.05).run()
        assert log_writer.end["error"] == {
            "code": "timeout",
            "message": "The job did not end within 0.05 s",
            "retryable": True,
        }
        assert log_writer.text == "partial"

    async def test_cancel_ends_the_agent_and_names_who_did_it(self, log_writer: StandInLogWriter) -> None:
        tidied: list[bool] = []

        async def speak(run: Run) -> None:
            await run.text("partial")
            try:
                await asyncio.Event().wait()
            finally:
                tidied.append(run.cancelled)
                await run.text(" and tidied up")

        await self._cancelled(log_writer, speak)
        assert log_writer.text == "partial and tidied up"
        assert tidied == [True]

    async def test_an_agent_that_swallows_its_cancellation_is_cancelled_all_the_same(
        self, log_writer: StandInLogWriter
    ) -> None:
        released = asyncio.Event()
        late: list[Exception] = []

        async def speak(run: Run) -> str:
            await run.text("partial")
            while not released.is_set():
                try:
                    await released.wait()
                except asyncio.CancelledError:
                    continue
            try:
                await run.text("late")
            except RunEnded as error:
                late.append(error)
            return "done"

        await self._cancelled(log_writer, speak)
        released.set()
        await asyncio.sleep(0.01)
        assert log_writer.text == "partial"
        assert len(late) == 1

    async def test_an_agent_that_returns_when_it_is_cancelled_is_cancelled_all_the_same(
        self, log_writer: StandInLogWriter
    ) -> None:
        async def speak(run: Run) -> str:
            await run.text("partial")
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            return "done"

        await self._cancelled(log_writer, speak)

    async def test_a_thread_that_goes_on_after_its_cancellation_can_say_nothing(
        self, log_writer: StandInLogWriter
    ) -> None:
        late: list[Exception] = []

        def speak(run: ThreadRun) -> None:
            run.text("partial")
            while not run.cancelled:
                time.sleep(0.001)
            try:
                while True:
                    run.text("late")
            except RunEnded as error:
                late.append(error)

        await self._cancelled(log_writer, speak)
        end = log_writer.events[-1]
        while not late:
            await asyncio.sleep(0.001)
        assert log_writer.events[-1] is end

    async def test_cancelling_twice_ends_it_once(self, log_writer: StandInLogWriter) -> None:
        async def speak(run: Run) -> None:
            await run.text("partial")
            await asyncio.Event().wait()

        await self._cancelled(log_writer, speak, times=2)

    async def test_a_lost_attempt_writes_nothing_more(self, log_writer: StandInLogWriter) -> None:
        async def speak(run: Run) -> None:
            await run.text("partial")
            await run.flush()
            await asyncio.Event().wait()

        running = job(log_writer, speak)
        task = asyncio.create_task(running.run())
        await self._said(log_writer)
        running.lose(Fenced())
        with pytest.raises(Fenced):
            await task
        assert [event.kind for event in log_writer.events] == ["text.delta"]

    async def test_a_fenced_attempt_stops_its_agent(self, log_writer: StandInLogWriter) -> None:
        stopped = asyncio.Event()

        async def speak(run: Run) -> None:
            try:
                while True:
                    await run.text("a")
                    await asyncio.sleep(0)
            finally:
                stopped.set()

        log_writer.error = Fenced()
        with pytest.raises(Fenced):
            await job(log_writer, speak).run()
        await asyncio.wait_for(stopped.wait(), 5)

    async def test_a_log_that_vanished_ends_the_job_by_a_claim(self, log_writer: StandInLogWriter) -> None:
        async def speak(run: Run) -> None:
            await run.text("a")
            await asyncio.Event().wait()

        log_writer.error = LogGone()
        ending, head = await job(log_writer, speak).run()
        assert log_writer.ended_lost
        assert (ending.fields["error"]["code"], head) == ("log_lost", NEXT)

    async def test_a_released_attempt_gives_the_session_back_and_writes_nothing(
        self, log_writer: StandInLogWriter
    ) -> None:
        async def speak(run: Run) -> None:
            await run.text("partial")
            await asyncio.Event().wait()

        running = job(log_writer, speak)
        task = asyncio.create_task(running.run())
        await self._said(log_writer)
        task.cancel()
        await running.release()
        await asyncio.wait({task})
        assert log_writer.released
        assert not any(event.kind in TERMINAL for event in log_writer.events)

    async def _cancelled(self, log_writer: StandInLogWriter, function: Callable[..., Any], times: int = 1) -> None:
        running = job(log_writer, function)
        task = asyncio.create_task(running.run())
        await self._said(log_writer)
        for number in range(times):
            running.context.stop(cancelled("user" if number == 0 else "somebody else"))
        await task
        assert log_writer.end == {"type": "job.cancelled", "job_id": "j", "by": "user"}
        assert log_writer.messages[-1]["content"].startswith("partial")

    async def _said(self, log_writer: StandInLogWriter) -> None:
        while not log_writer.events:
            await asyncio.sleep(0.001)
