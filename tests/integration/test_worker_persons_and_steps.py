"""Jobs that ask a person, record their steps, and let sub-agents speak side by side, on a real worker."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from typing import Any

import pytest
from holdfast.shared import keys
from holdfast.shared.errors import QuestionAnswered
from holdfast.shared.log.log_writer import LogWriter
from holdfast.worker import AgentError, Run
from holdfast.worker.attempt.thread_run import ThreadRun

from tests.support.fault_proxy import FaultProxy, port_of
from tests.support.log import said
from tests.support.process import until
from tests.support.workers import Client, worker_on


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


async def asking(run: Run) -> Any:
    """Asks one question, and says what it was told."""
    answer = await run.ask("Which city?", {"type": "string"})
    await run.text(f"To {answer}")
    return answer


async def answer(client: Client, value: bytes, question_id: str | None = None) -> None:
    """What the gateway does with an answer."""
    answered = await client.sessions.answer("s", "j1", question_id, value)
    if answered.lease_owner is None:
        await client.queue.make_ready("s", "j1", answered.agent)
    else:
        await client.queue.notify(answered.lease_owner, "s")


async def waiting(client: Client, job: str = "j1") -> None:
    await client.until("s", job, lambda state: state.status == "waiting")


def questions(events: list[dict[str, Any]], attempt: int) -> list[str]:
    """The types of the question's events in one attempt."""
    starts = [at for at, event in enumerate(events) if event["type"] == "job.started"] + [len(events)]
    mine = events[starts[attempt - 1] : starts[attempt]]
    return [event["type"] for event in mine if event["type"].startswith("question.")]


async def test_an_agent_that_asks_goes_on_with_the_answer(redis_url: str, client: Client) -> None:
    async with worker_on(redis_url, [asking]):
        await client.offered("asking")
        await client.post(agent="asking")
        await waiting(client)
        await answer(client, b'"Rome"')
        assert (await client.end())["result"] == "Rome"
        assert await client.kinds() == [
            "job.started", "question.asked", "question.answered", "text.delta", "job.completed",
        ]  # fmt: skip
        with pytest.raises(QuestionAnswered):
            await answer(client, b'"Oslo"')


async def much_recorded(run: Run) -> Any:
    for number in range(50):
        await run.step(f"step {number}", int)
    return await run.ask("Which city?")


async def test_a_job_that_waits_for_a_person_reads_nothing_of_its_journal_but_the_answer(
    redis_url: str, client: Client
) -> None:
    reads: list[list[bytes]] = []

    def note(command: list[bytes]) -> bool:
        if command[0].startswith(b"HGET") and command[1] == keys.session_keys("s").journal.encode():
            reads.append(command)
        return False

    async with FaultProxy(port_of(redis_url)) as proxy:
        proxy.drop_reply(note)
        async with worker_on(proxy.url, [much_recorded]):
            await client.offered("much_recorded")
            await client.post(agent="much_recorded")
            await waiting(client)
            await until(lambda: bool(reads))
            await answer(client, b'"Rome"')
            assert (await client.end())["result"] == "Rome"
    assert {command[0] for command in reads} == {b"HGET"}


async def test_a_job_that_waits_for_a_person_takes_no_slot(redis_url: str, client: Client) -> None:
    async with worker_on(redis_url, [asking], max_jobs=1):
        await client.offered("asking")
        await client.post(agent="asking")
        await waiting(client)
        await client.post("other", "j2", options={"tokens": 1, "interval_ms": 0})
        await client.end("other", "j2")
        assert (await client.job()).status == "waiting"
        await answer(client, b'"Rome"')
        assert (await client.end())["type"] == "job.completed"


async def test_a_question_outlives_the_worker_that_asked_it(redis_url: str, client: Client) -> None:
    async with worker_on(redis_url, [asking]):
        await client.offered("asking")
        await client.post(agent="asking")
        await waiting(client)
    assert (await client.job()).status == "waiting"
    async with worker_on(redis_url, [asking]):

        async def parked() -> bool:
            return await client.redis.zscore(keys.DEFERRED, "s/j1") is not None

        await until(parked)  # the second worker took the entry, and was told to wait for the answer
        assert (await client.job()).status == "waiting"
        await answer(client, b'"Rome"')
        assert (await client.end())["result"] == "Rome"
    events = await client.events()
    assert [event["question_id"] for event in events if event["type"] == "question.asked"] == [
        next(event["question_id"] for event in events if event["type"] == "question.asked")
    ] * 2
    assert questions(events, attempt=1) == ["question.asked"]
    assert questions(events, attempt=2) == ["question.asked", "question.answered"]


async def test_the_time_that_a_person_takes_is_not_the_jobs(redis_url: str, client: Client) -> None:
    async with worker_on(redis_url, [asking]):
        await client.offered("asking")
        await client.post(agent="asking", timeout_s=1)
        await waiting(client)
        began = asyncio.get_running_loop().time()
        await until(lambda: asyncio.get_running_loop().time() - began > 1.2)
        assert (await client.job()).status == "waiting"
        await answer(client, b'"Rome"')
        assert (await client.end())["type"] == "job.completed"


async def test_a_question_that_nobody_answers_fails_the_job(redis_url: str, client: Client) -> None:
    async with worker_on(redis_url, [asking], ask_seconds=1):
        await client.offered("asking")
        await client.post(agent="asking")
        assert (await client.end())["error"]["code"] == "unanswered"


async def test_a_job_that_waits_can_be_cancelled(redis_url: str, client: Client) -> None:
    async with worker_on(redis_url, [asking]):
        await client.offered("asking")
        await client.post(agent="asking")
        await waiting(client)
        await client.cancel()
        assert (await client.end())["type"] == "job.cancelled"
        await client.empty()


async def test_an_agent_that_gives_up_while_its_question_is_on_its_way_loses_no_event(
    redis_url: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asked wrote the question himself. Cut short after the log had it, he left a writer that did not know of it:
    the next append was taken for its repetition and skipped, and an end behind it was refused for ever."""
    monkeypatch.setattr(LogWriter, "ask", _answering_late(LogWriter.ask))

    async def hasty(run: Run) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(0.1):
                await run.ask("Which city?")
        await run.status("first")
        await run.flush()
        await run.status("second")

    async with worker_on(redis_url, [hasty]):
        await client.offered("hasty")
        await client.post(agent="hasty")
        assert (await client.end())["type"] == "job.completed"
        assert await client.kinds() == ["job.started", "question.asked", "status", "status", "job.completed"]


async def test_a_job_that_is_cancelled_while_it_asks_in_a_thread_leaves_no_thread(
    redis_url: str, client: Client
) -> None:
    threads: list[threading.Thread] = []

    def asks_in_thread(run: ThreadRun) -> None:
        threads.append(threading.current_thread())
        run.ask("Which city?")

    async with worker_on(redis_url, [asks_in_thread]):
        await client.offered("asks_in_thread")
        await client.post(agent="asks_in_thread")
        await waiting(client)
        await client.cancel()
        assert (await client.end())["type"] == "job.cancelled"
        await until(lambda: not threads[0].is_alive())


async def test_questions_of_parallel_agents_are_put_one_after_the_other(redis_url: str, client: Client) -> None:
    async def panel(run: Run) -> list[Any]:
        return list(await asyncio.gather(*(run.agent(name).ask(f"{name}?") for name in ("one", "two"))))

    async with worker_on(redis_url, [panel]):
        await client.offered("panel")
        await client.post(agent="panel")
        for count in (1, 2):

            async def asked(count: int = count) -> bool:
                return (await client.kinds()).count("question.asked") == count

            await until(asked)
            await waiting(client)
            await answer(client, str(count).encode())
        assert (await client.end())["result"] == [1, 2]


async def test_a_recorded_step_is_not_run_again_and_one_that_was_cut_is_with_the_same_key(
    redis_url: str, client: Client
) -> None:
    calls: list[tuple[str, str]] = []
    first_is_cut = asyncio.Event()

    async def pay(amount: int, *, idempotency_key: str) -> dict[str, int]:
        calls.append((f"pay {amount}", idempotency_key))
        return {"paid": amount}

    async def ship(*, idempotency_key: str) -> str:
        calls.append(("ship", idempotency_key))
        if len(calls) < 4:
            first_is_cut.set()
            await asyncio.Event().wait()
        return "shipped"

    async def shop(run: Run) -> list[Any]:
        paid = [await run.step("pay", pay, amount) for amount in (5, 5)]
        return [*paid, await run.step("ship", ship)]

    async with worker_on(redis_url, [shop]):
        await client.offered("shop")
        await client.post(agent="shop")
        await asyncio.wait_for(first_is_cut.wait(), 30)
    async with worker_on(redis_url, [shop]):
        assert (await client.end())["result"] == [{"paid": 5}, {"paid": 5}, "shipped"]
    assert [name for name, _ in calls] == ["pay 5", "pay 5", "ship", "ship"]
    given = [key for _, key in calls]
    assert given[2] == given[3]
    assert len(set(given)) == 3


async def test_a_step_that_takes_too_long_raises_in_the_agent(redis_url: str, client: Client) -> None:
    async def slow(run: Run) -> None:
        await run.step("sleep", asyncio.Event().wait, timeout_s=0.05)

    async with worker_on(redis_url, [slow]):
        await client.offered("slow")
        await client.post(agent="slow")
        end = await client.end()
        assert (end["error"]["code"], end["error"]["retryable"]) == ("step_timeout", True)


async def test_a_step_whose_result_is_not_json_fails_clearly(redis_url: str, client: Client) -> None:
    async def odd(run: Run) -> None:
        await run.step("odd", object)

    async with worker_on(redis_url, [odd]):
        await client.offered("odd")
        await client.post(agent="odd")
        assert "not JSON" in (await client.end())["error"]["message"]


async def test_three_agents_side_by_side_interleave_and_each_text_is_whole_and_in_order(
    redis_url: str, client: Client
) -> None:
    names = ("red", "green", "blue")
    turn = asyncio.Barrier(3)

    async def speak(run: Run) -> None:
        for number in range(20):
            await turn.wait()
            await run.text(f"{number} ")

    async def trio(run: Run) -> None:
        await asyncio.gather(*(speak(run.agent(name)) for name in names))

    async with worker_on(redis_url, [trio]):
        await client.offered("trio")
        await client.post(agent="trio")
        await client.end()
    spoken = [(event["agent"], event["text"]) for event in await client.events() if event["type"] == "text.delta"]
    whole = "".join(f"{number} " for number in range(20))
    for name in names:
        assert "".join(text for agent, text in spoken if agent == name) == whole
    speakers = [agent for agent, _ in spoken]
    assert all(len(set(speakers[at : at + 3])) == 3 for at in range(0, 60, 3))
    messages = await said(client.sessions)
    assert {message["agent"]: message["content"] for message in messages[1:]} == dict.fromkeys(names, whole)


async def test_what_a_synchronous_agent_does_looks_the_same(redis_url: str, client: Client) -> None:
    def sync(run: Any) -> Any:
        with run.section("One"), run.tool("clock", {"zone": "UTC"}) as call:
            call.result = run.step("now", lambda: "noon")
        run.agent("other").text("hi")
        return run.ask("Sure?")

    async with worker_on(redis_url, [sync]):
        await client.offered("sync")
        await client.post(agent="sync")
        await waiting(client)
        await answer(client, b"true")
        assert (await client.end())["result"] is True
    events = await client.events()
    assert [event["type"] for event in events][1:7] == [
        "section.started", "tool.started", "tool.called", "tool.result", "section.ended", "text.delta",
    ]  # fmt: skip
    assert events[4]["result"] == "noon"
    assert events[6]["agent"] == "other"


async def test_a_tool_that_raises_is_shown_as_failed_and_raises_on(redis_url: str, client: Client) -> None:
    async def broken(run: Run) -> None:
        async with run.tool("search", {"q": "x"}):
            raise AgentError("search_down", "No search today")

    async with worker_on(redis_url, [broken]):
        await client.offered("broken")
        await client.post(agent="broken")
        assert (await client.end())["error"]["code"] == "search_down"
    assert "tool.failed" in await client.kinds()


async def test_a_question_whose_schema_is_none_fails_clearly_and_is_not_asked(redis_url: str, client: Client) -> None:
    async def odd(run: Run) -> None:
        await run.ask("How many?", {"type": "many"})

    async with worker_on(redis_url, [odd]):
        await client.offered("odd")
        await client.post(agent="odd")
        error = (await client.end())["error"]
        assert error["code"] == "event_invalid"
        assert error["message"].startswith("question.asked needs a JSON schema: ")
    assert "question.asked" not in await client.kinds()


async def test_a_question_cannot_be_forged(redis_url: str, client: Client) -> None:
    async def forger(run: Run) -> None:
        await run.emit({"type": "question.asked", "question_id": "q", "prompt": "?", "schema": {}})

    async with worker_on(redis_url, [forger]):
        await client.offered("forger")
        await client.post(agent="forger")
        assert (await client.end())["error"]["code"] == "event_invalid"


def _answering_late(call: Callable[..., Any]) -> Callable[..., Any]:
    """The call, which is carried out at once and whose reply takes a while."""

    async def late(*arguments: Any, **named: Any) -> Any:
        reply = await call(*arguments, **named)
        await asyncio.sleep(0.3)
        return reply

    return late
