"""One session, followed at once by the page, both client libraries and programs that read the streams themselves."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import pytest
from holdfast.client import Client, Conversation, SyncClient
from holdfast.shared.ids import parse_id

from tests.browser.conftest import Stack
from tests.support.browser import Page
from tests.support.javascript import Program
from tests.support.scene import words
from tests.support.sse import SseStream

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

EVENTS = "/v1/sessions/session/events?wait=true"
IN_NODE = """
    const session = new Client(given.url).session("session");
    const { messages } = await until(session, ({ messages }) => messages.at(-1)?.status === "completed");
    say(messages.at(-1).content);
"""


async def in_python(url: str) -> str:
    conversation = Conversation()
    async with Client(url) as client:
        async for event in client.stream("session", wait=True):
            conversation.add(event)
            if event.type == "job.completed":
                break
    return answer(conversation)


def in_python_without_asyncio(url: str) -> str:
    conversation = Conversation()
    with SyncClient(url) as client:
        for event in client.stream("session", wait=True):
            conversation.add(event)
            if event.type == "job.completed":
                break
    return answer(conversation)


def answer(conversation: Conversation) -> str:
    return "".join(each["content"] for each in conversation.messages if each["role"] == "assistant")


async def in_node(url: str) -> str:
    async with Program(IN_NODE, url=url) as program:
        return str(await program.read())


async def in_sse(url: str) -> str:
    async with SseStream(url + EVENTS) as stream:
        return await folded((frame.id, frame.json) async for frame in stream)


async def in_ndjson(url: str) -> str:
    async with (
        httpx2.AsyncClient(base_url=url, trust_env=False) as client,
        client.stream("GET", EVENTS, headers={"Accept": "application/x-ndjson"}) as response,
    ):
        events = (json.loads(line) async for line in response.aiter_lines() if line)
        return await folded((event.get("id", ""), event) async for event in events)


async def folded(events: AsyncIterator[tuple[str, dict[str, Any]]]) -> str:
    """The text up to the end of the job, by the rule for `discard_from` of docs/protocol.md."""
    kept: list[tuple[str, str]] = []
    async for event_id, event in events:
        if discard_from := event.get("discard_from"):
            kept = [each for each in kept if parse_id(each[0]) < parse_id(discard_from)]
        if event["type"] == "text.delta":
            kept.append((event_id, event["text"]))
        if event["type"] == "job.completed":
            break
    return "".join(text for _, text in kept)


async def followed(url: str) -> dict[str, str]:
    """The text that each kind of client shows when the job has ended."""
    followers = {
        "Python": in_python(url),
        "Python without asyncio": asyncio.to_thread(in_python_without_asyncio, url),
        "JavaScript": in_node(url),
        "SSE": in_sse(url),
        "NDJSON": in_ndjson(url),
    }
    return dict(zip(followers, await asyncio.gather(*followers.values()), strict=True))


async def test_all_clients_show_the_same_text_across_a_takeover_whenever_they_join(stack: Stack, page: Page) -> None:
    stack.worker.kill()
    for _ in range(2):
        stack.processes.worker(stack.redis_url, HOLDFAST_LEASE_SECONDS="1")
    first = asyncio.ensure_future(followed(stack.gateway.url))
    await page.ask("count", tokens=300, interval_ms=20, crash_at=200)
    await page.until_written(300)
    joined = asyncio.ensure_future(followed(stack.gateway.url))
    await page.until_jobs("completed")
    shown = {
        "from the start": await first,
        "in the middle": await joined,
        "afterwards": await followed(stack.gateway.url),
        "page": {"page": await page.text((await page.job_ids())[0])},
    }
    different = {when: [name for name, text in each.items() if text != words(300)] for when, each in shown.items()}
    assert different == {when: [] for when in shown}
