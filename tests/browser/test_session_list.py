"""The list of conversations: read page by page, and used by keyboard alone."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Stack
from tests.support.browser import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGE = 25
ENTRIES = "document.querySelectorAll('#sessions-list li').length"
FOCUS = "document.activeElement.getAttribute('href')"


async def post(stack: Stack, *sessions: str) -> None:
    """Start a job in each session, in this order."""
    async with stack.client() as client:
        for session in sessions:
            body = {"agent": "scripted", "input": f"message of {session}", "options": {"tokens": 2}}
            assert (await client.post(f"/v1/sessions/{session}/jobs", json=body)).status_code == 202


async def test_a_conversation_is_opened_from_the_list_by_keyboard_alone(stack: Stack, page: Page) -> None:
    await post(stack, "coffee", "tea")
    await page.call("focus", "#sessions-open")
    await page.press("Enter")
    await page.until(f"{ENTRIES} === 2 && {FOCUS}")
    while await page.evaluate(FOCUS) != "#coffee":
        await page.press("ArrowDown")
    await page.press("Enter")
    await page.until("location.hash === '#coffee' && !document.getElementById('sessions').open")
    await page.until_shown(".said", "message of coffee")
    await page.until("document.activeElement.id === 'input'")


async def test_the_list_continues_on_request_and_escape_closes_it(stack: Stack, page: Page) -> None:
    await post(stack, *(f"s{number}" for number in range(PAGE + 2)))
    await page.call("click", "#sessions-open")
    await page.until(f"{ENTRIES} === {PAGE}")
    await page.call("click", "#sessions-more")
    await page.until(f"{ENTRIES} === {PAGE + 2} && document.getElementById('sessions-more').hidden")
    await page.press("Escape")
    await page.until("!document.getElementById('sessions').open")


async def test_a_list_that_cannot_be_read_says_so(stack: Stack, page: Page) -> None:
    stack.gateway.kill()
    await page.call("click", "#sessions-open")
    await page.until_shown("#sessions-status", "The gateway cannot be reached.")
