"""The composer: messages, answers to questions, and when Escape stops the job."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Stack
from tests.support.browser import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAITING = ".question[data-state=waiting]"
GIVEN = ".question[data-state=answered] .given:not([hidden])"


async def ask_for_a_text(page: Page) -> None:
    await page.ask("go", ask="Shall I?", tokens=3)
    await page.until_shown("#send", "Answer")


async def test_the_composer_answers_an_open_question_for_a_text(stack: Stack, page: Page) -> None:
    await ask_for_a_text(page)
    await page.until_shown("#input-label", "Your answer")
    await page.call("fill", "#input", "yes")
    await page.call("press", "#input", "Enter")
    assert await page.shown(GIVEN) == "yes"
    await page.until_jobs("completed")
    await page.until_shown("#send", "Send")
    assert await stack.job_count() == 1


async def test_the_composer_writes_messages_while_a_question_has_a_form(stack: Stack, page: Page) -> None:
    await stack.offer("examples.ask_a_person", "ask_a_person")
    await page.call("reload")
    await page.ask("a table", agent="ask_a_person")
    await page.until(f"document.querySelector('{WAITING} select')")
    await page.call("fill", "#input", "another table")
    await page.call("press", "#input", "Enter")
    await page.until_jobs("queued")
    await page.until_jobs("waiting")


async def test_escape_outside_of_composer_and_log_does_not_stop_the_job(page: Page) -> None:
    await page.ask("count", tokens=10_000, interval_ms=20)
    await page.until_written(20)
    await page.call("focus", "#new")
    await page.press("Escape")
    await page.evaluate("new Promise(requestAnimationFrame).then(() => true)")
    await page.until("!document.getElementById('stop').disabled && !document.getElementById('stop').hidden")
    await page.call("focus", "#log")
    await page.press("Escape")
    await page.until_jobs("cancelled")
