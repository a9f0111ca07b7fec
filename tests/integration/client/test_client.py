"""The Python client against a real gateway and worker over a real port, in both of its forms."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
from holdfast.client import (
    ArgumentInvalid,
    Client,
    Conversation,
    Event,
    EventStream,
    Job,
    JobCancelled,
    JobFailed,
    Refused,
    SessionDeleted,
    SyncClient,
)

from tests.support.process import until
from tests.support.scene import words
from tests.support.served import Served, served
from tests.support.workers import worker_on


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway, worker_on(redis_url):
        await until(lambda: offers(gateway))
        yield gateway


async def offers(gateway: Served) -> bool:
    return "scripted" in (await gateway.client.get("/v1/agents")).text


@pytest.fixture
async def client(gateway: Served) -> AsyncIterator[Client]:
    async with Client(gateway.url) as client:
        yield client


def scripted(**options: Any) -> dict[str, Any]:
    return {"agent": "scripted", "options": {"interval_ms": 1, "tokens": 5, **options}}


async def test_run_returns_the_text_and_the_messages_of_the_job(client: Client) -> None:
    done = await client.run("hi", session_id="s", **scripted(tools=1))
    assert done.text == words(5)
    assert [message["role"] for message in done.messages] == ["user", "assistant", "tool", "assistant"]
    assert done.messages == (await client.conversation("s")).messages
    assert not done.incomplete


async def test_a_job_follows_another_than_the_newest_or_none(client: Client) -> None:
    first = await client.run("one", session_id="s", **scripted())
    conversation = await client.conversation("s")
    await client.run("two", session_id="s", **scripted())
    edited = await client.run("TWO", session_id="s", after=first.job_id, **scripted())
    begun = await client.run("begin", session_id="s", after=None, **scripted())
    states = [await client.job("s", job.job_id) for job in (edited, begun)]
    assert [state["after"] for state in states] == [first.job_id, None]
    last = await client.run("three", session_id="s", after=edited.job_id, **scripted())
    async for event in client.stream("s", cursor=conversation.cursor):
        conversation.add(event)
        if event.job_id == last.job_id and event.type == "job.completed":
            break
    assert conversation.incomplete, "it followed a job of another branch"
    said = [message["content"] for message in (await client.conversation("s")).messages]
    assert said[::2] == ["one", "TWO", "three"]


async def test_the_synchronous_client_runs_a_job_and_reads_its_events(gateway: Served) -> None:
    def use() -> None:
        with SyncClient(gateway.url) as client:
            done = client.run("hi", session_id="s", **scripted())
            assert done.text == words(5)
            assert [event.type for event in client.stream("s", done.job_id)][-1] == "job.completed"
            assert [job["job_id"] for job in client.jobs("s")] == [done.job_id]
            assert client.conversation("s").messages == done.messages
            assert client.session("s")["status"] == "completed"

    await asyncio.to_thread(use)


async def test_a_job_that_fails_raises_its_error(client: Client) -> None:
    with pytest.raises(JobFailed) as failed:
        await client.run("hi", session_id="s", **scripted(fail_at=2))
    assert (failed.value.code, failed.value.session_id) == ("agent_error", "s")
    state = await client.job("s", failed.value.job_id)
    assert state["error"]["message"] == failed.value.message


async def test_a_job_that_is_cancelled_says_by_whom(client: Client) -> None:
    job = await client.send("hi", **scripted(tokens=10_000, interval_ms=20))
    await job.cancel()
    with pytest.raises(JobCancelled) as cancelled:
        await job.result()
    assert cancelled.value.by == "user"
    await job.cancel()


async def test_a_deletion_ends_every_stream_of_the_session(gateway: Served, client: Client) -> None:
    job = await client.send("hi", session_id="s", **scripted(tokens=10_000, interval_ms=20))
    watched = asyncio.create_task(kinds(client, "s"))
    result = asyncio.create_task(job.result())
    await until(lambda: streams(gateway, 2))
    await client.delete("s")
    assert (await watched)[-1] == "session.deleted"
    with pytest.raises((SessionDeleted, JobCancelled)):
        await result


async def streams(gateway: Served, count: int) -> bool:
    return f"holdfast_viewers {count}.0" in (await gateway.client.get("/metrics")).text


async def kinds(client: Client, session_id: str) -> list[str]:
    return [event.type async for event in client.stream(session_id)]


async def test_a_question_is_part_of_the_conversation_until_it_is_answered(client: Client) -> None:
    job = await client.send("hi", **scripted(ask="Go on?"))
    conversation = Conversation()
    async for event in job.stream():
        conversation.add(event)
        if conversation.question is not None:
            assert conversation.question["prompt"] == "Go on?"
            await job.answer("yes", conversation.question["question_id"])
    assert conversation.question is None
    with pytest.raises(Refused) as refused:
        await job.answer("no")
    assert refused.value.status in {404, 409}


async def test_a_conversation_that_is_read_while_a_job_runs_is_followed_without_a_word_lost_or_doubled(
    client: Client,
) -> None:
    await client.run("first", session_id="s", **scripted())
    job = await client.send("second", session_id="s", **scripted(tokens=200, tools=1, interval_ms=5))
    watch = client.stream("s", cursor=(await client.session("s"))["cursor"])
    async for event in watch:
        if event.type == "text.delta" and event.job_id == job.job_id:
            break
    conversation = await client.conversation("s")
    async for event in client.stream("s", cursor=conversation.cursor):
        conversation.add(event)
        if event.type == "job.completed" and event.job_id == job.job_id:
            break
    assert conversation.messages == (await client.conversation("s")).messages
    assert conversation.messages[-1]["content"] == words(200)


async def test_the_same_key_is_the_same_job(client: Client) -> None:
    first = await client.send("hi", idempotency_key="once", **scripted())
    second = await client.send("hi", idempotency_key="once", **scripted())
    assert (first.session_id, first.job_id) == (second.session_id, second.job_id)


async def test_a_refusal_has_the_code_and_the_field_of_the_problem(client: Client) -> None:
    with pytest.raises(Refused) as refused:
        await client.send("hi", agent="nobody")
    assert (refused.value.status, refused.value.code) == (404, "agent_unknown")
    with pytest.raises(Refused) as refused:
        await client.send("hi", timeout_s=0, agent="scripted")
    assert refused.value.field == "timeout_s"


async def first_of(stream: EventStream) -> Event:
    async for event in stream:
        return event
    raise AssertionError("the stream has no event")


async def test_a_stream_of_a_session_that_does_not_exist_is_refused_or_waits(client: Client) -> None:
    with pytest.raises(Refused, match="session_unknown"):
        await kinds(client, "later")
    first = asyncio.create_task(first_of(client.stream("later", wait=True)))
    done = await client.run("hi", session_id="later", **scripted())
    assert (await first).job_id == done.job_id


async def test_a_stream_of_new_events_begins_behind_the_old_ones(client: Client) -> None:
    first = await client.run("hi", session_id="s", **scripted())
    stream = client.stream("s", only_new=True)
    beginning = asyncio.create_task(first_of(stream))
    await until(lambda: stream.cursor is not None)
    second = await client.run("hi", session_id="s", **scripted())
    assert (await beginning).job_id == second.job_id != first.job_id


async def test_lists_are_read_page_by_page(client: Client) -> None:
    jobs = [(await client.send("hi", session_id="s", on_busy="queue", **scripted(tokens=1))).job_id for _ in range(60)]
    assert [job["job_id"] async for job in client.jobs("s")] == jobs[::-1]
    assert [session["session_id"] async for session in client.sessions()] == ["s"]
    assert "scripted" in str(await client.agents())


async def test_one_client_holds_more_streams_than_httpx_allows_by_default(client: Client) -> None:
    job = await client.send("hi", **scripted(tokens=3, ask="Go on?"))
    asked: list[Event] = []
    watchers = [asyncio.create_task(watch(job, asked)) for _ in range(120)]
    await until(lambda: len(asked) == 120)
    await job.answer("yes")
    assert {(await watcher).type for watcher in watchers} == {"job.completed"}


async def watch(job: Job, asked: list[Event]) -> Event:
    """Read a job to its end; adds its question to a list."""
    events = []
    async for event in job.stream():
        events.append(event)
        asked += [event] if event.type == "question.asked" else []
    return events[-1]


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.session("../secrets"),
        lambda client: client.cancel("s", ".."),
        lambda client: client.send("hi", session_id="a/b"),
    ],
)
async def test_an_id_that_would_be_another_path_is_refused(
    client: Client, call: Callable[[Client], Awaitable[Any]]
) -> None:
    with pytest.raises(ArgumentInvalid, match="1 to 128 characters"):
        await call(client)
