"""An agent that returns a text instead of emitting one has answered: viewers, conversation and terminal get it."""

from __future__ import annotations

import io
from collections.abc import AsyncIterator
from typing import Any

import click
import pytest
from holdfast.client import Event
from holdfast.shared.log.events import MAX_EVENT_BYTES
from holdfast.worker import Run
from holdfast.worker.attempt.thread_run import ThreadRun

from holdfast.cli.show import TerminalShow
from tests.support.log import said
from tests.support.workers import Client, worker_on


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


async def returns(run: Run) -> Any:
    """Returns what its job was given."""
    assert isinstance(run.input, dict)
    return run.input["value"]


async def answer(client: Client, value: Any) -> dict[str, Any]:
    """Run a job that returns the value, and return its terminal event."""
    await client.offered("returns")
    await client.post(agent="returns", input={"value": value})
    return await client.end()


async def test_a_returned_text_is_one_delta_before_the_end_and_in_the_conversation(
    redis_url: str, client: Client
) -> None:
    async with worker_on(redis_url, [returns]):
        assert (await answer(client, "It is five.\nIndeed."))["result"] == "It is five.\nIndeed."
    events = await client.events()
    assert [event["type"] for event in events] == ["job.started", "text.delta", "job.completed"]
    assert (events[1]["text"], events[1]["part"]) == ("It is five.\nIndeed.", 0)
    messages = await said(client.sessions)
    assert [(message["role"], message["content"]) for message in messages] == [("assistant", "It is five.\nIndeed.")]


async def test_a_terminal_prints_a_returned_text(redis_url: str, client: Client) -> None:
    async with worker_on(redis_url, [returns]):
        await answer(client, "It is five.")
    out = io.StringIO()
    show = TerminalShow(out)
    for event in await client.events():
        show(Event("1-1", event))
    show.end()
    assert click.unstyle(out.getvalue()).splitlines() == ["returns, attempt 1", "It is five."]


async def test_a_synchronous_agent_answers_by_returning_too(redis_url: str, client: Client) -> None:
    def sync(run: ThreadRun) -> str:
        return "From a thread."

    async with worker_on(redis_url, [sync]):
        await client.offered("sync")
        await client.post(agent="sync")
        await client.end()
    assert await client.said() == "From a thread."


@pytest.mark.parametrize("value", [None, 5, ["five"], {"text": "five"}, ""])
async def test_a_returned_value_that_is_not_text_is_the_result_and_is_not_emitted(
    redis_url: str, client: Client, value: Any
) -> None:
    async with worker_on(redis_url, [returns]):
        assert (await answer(client, value))["result"] == value
    assert await client.kinds() == ["job.started", "job.completed"]


async def test_a_text_that_is_returned_after_text_was_emitted_is_the_result_alone(
    redis_url: str, client: Client
) -> None:
    async def both(run: Run) -> str:
        await run.agent("helper").text("Emitted.")
        return "Returned."

    async with worker_on(redis_url, [both]):
        await client.offered("both")
        await client.post(agent="both")
        assert (await client.end())["result"] == "Returned."
    assert await client.said() == "Emitted."


@pytest.mark.parametrize("text", ["x" * 300_000, "\x01" * 100_000, "€😀" * 100_000], ids=["ascii", "escaped", "utf-8"])
async def test_a_text_above_the_limit_of_an_event_is_several_deltas_and_no_result(
    redis_url: str, client: Client, text: str
) -> None:
    async with worker_on(redis_url, [returns]):
        assert (await answer(client, text))["result"] is None
    entries = await client.entries()
    assert max(len(entry.body) for entry in entries if entry.kind == "text.delta") <= MAX_EVENT_BYTES
    assert await client.said() == text
    messages = await said(client.sessions)
    assert messages[-1]["content"] == text
