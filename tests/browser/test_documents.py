"""The programs for browsers that README.md and docs/clients-javascript.md show, as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.browser.conftest import Stack
from tests.support.browser import Page
from tests.support.process import ROOT, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

README = ROOT / "README.md"
CLIENTS = ROOT / "docs" / "clients-javascript.md"


def program(page: Path, language: str) -> str:
    """The only program of a language on a page."""
    [found] = re.findall(rf"```{language}\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    return str(found)


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
    html = program(README, "html")
    assert len(html.splitlines()) == 6
    page = await opened(stack, html)
    await page.until("document.body.textContent.startsWith('You asked')")


async def test_the_page_in_the_clients_document_shows_an_answer(stack: Stack) -> None:
    page = await opened(stack, program(CLIENTS, "html"))
    await page.until("document.getElementById('answer').textContent.startsWith('You asked')")


async def test_a_bare_event_source_receives_the_events_of_a_session(stack: Stack) -> None:
    page = await opened(stack, "<p>EventSource</p>")
    async with stack.client() as client:
        job = {"agent": "scripted", "input": "count", "options": {"tokens": 3}}
        assert (await client.post("/v1/sessions/tea/jobs", json=job)).status_code == 202
    source = program(CLIENTS, "js").replace("console.log(JSON.parse(data))", "(window.seen ??= []).push(data)")
    await page.evaluate(f"void (() => {{ {source} }})()")
    await page.until("window.seen?.some((data) => data.includes('job.completed'))")
