"""Running a job again, as it was or with another message."""

from __future__ import annotations

import pytest

from tests.support.browser import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

FACTS = "[data-job] .facts"


async def test_a_failed_job_is_retried_with_its_message_and_options(page: Page) -> None:
    await page.ask("go", tokens=5, fail_at=3)
    await page.until_jobs("failed")
    await page.call("click", f"{FACTS} >> text=Retry")
    await page.until_jobs("failed", 2)
    await page.until("document.querySelectorAll('.said')[1].textContent === 'go'")
    first, second = await page.job_ids()
    assert await page.text(first) == await page.text(second) == "w0 w1 w2 "


async def test_a_message_is_changed_and_sent_again(page: Page) -> None:
    await page.ask("tea", tokens=3)
    await page.until_jobs("completed")
    await page.call("selectOption", "#agent", "demo")
    await page.call("click", f"{FACTS} >> text=Edit")
    await page.until("document.getElementById('input').value === 'tea' && document.activeElement.id === 'input'")
    assert await page.evaluate("document.getElementById('agent').value") == "scripted"
    await page.type(" with milk")
    await page.press("Enter")
    await page.until_jobs("completed", 2)
    await page.until("document.querySelectorAll('.said')[1].textContent === 'tea with milk'")
