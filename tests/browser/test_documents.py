"""The programs for browsers that README.md and docs/clients-javascript.md show, as they stand there."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Stack
from tests.support.browser import Page
from tests.support.documents import block
from tests.support.process import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

CLIENTS = "docs/clients-javascript.md"


async def opened(stack: Stack, html: str) -> Page:
    """A page of the gateway's origin with this content, once the demo agent can be asked."""

    async def offered() -> bool:
        async with stack.client() as client:
            return "demo" in (await client.get("/v1/agents")).text

    await until(offered)
    page = await stack.context.page(f"{stack.gateway.url}/livez")
    await page.call("setContent", html)
    return page


async def test_the_readmes_page_has_six_lines_and_shows_an_answer(stack: Stack) -> None:
    html = block("README.md", "<script", "html")
    assert len(html.splitlines()) == 6
    page = await opened(stack, html)
    await page.until("document.body.textContent.startsWith('You asked')")


async def test_the_page_in_the_clients_document_shows_an_answer(stack: Stack) -> None:
    page = await opened(stack, block(CLIENTS, "<script", "html"))
    await page.until("document.getElementById('answer').textContent.startsWith('You asked')")


async def test_a_bare_event_source_receives_the_events_of_a_session(stack: Stack) -> None:
    page = await opened(stack, "<p>EventSource</p>")
    async with stack.client() as client:
        job = {"agent": "scripted", "input": "count", "options": {"tokens": 3}}
        assert (await client.post("/v1/sessions/tea/jobs", json=job)).status_code == 202
    source = block(CLIENTS, "EventSource", "js").replace(
        "console.log(JSON.parse(data))", "(window.seen ??= []).push(data)"
    )
    await page.evaluate(f"void (() => {{ {source} }})()")
    await page.until("window.seen?.some((data) => data.includes('job.completed'))")
