"""Running a job again, as it was or with another message."""

from __future__ import annotations

import pytest

from tests.support.browser import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

FACTS = "[data-job] .facts"


async def test_a_failed_job_is_retried_with_its_message_and_options(page: Page) -> None:
    await page.ask("go", tokens=5, fail_at=3)
    await page.until_jobs("failed")
    [first] = await page.job_ids()
    await page.call("click", f"{FACTS} >> text=Retry")
    await page.until(f"!document.querySelector('[data-job=\"{first}\"]')")
    await page.until_jobs("failed")
    [second] = await page.job_ids()
    assert await page.evaluate("document.querySelector('.said').textContent") == "go"
    assert await page.text(second) == "w0 w1 w2 "


async def test_a_message_is_changed_and_sent_again(page: Page) -> None:
    await page.ask("tea", tokens=3)
    await page.until_jobs("completed")
    await page.call("selectOption", "#agent", "demo")
    await page.call("click", f"{FACTS} >> text=Edit")
    await page.until("document.getElementById('input').value === 'tea' && document.activeElement.id === 'input'")
    assert await page.evaluate("document.getElementById('agent').value") == "scripted"
    await page.type(" with milk")
    await page.press("Enter")
    await page.until("document.querySelector('.said')?.textContent === 'tea with milk'")
    await page.until_jobs("completed")
    assert len(await page.job_ids()) == 1, "it replaces the message that was changed"


async def test_a_message_in_the_middle_is_changed_and_what_follows_it_goes(page: Page) -> None:
    for number, text in enumerate(("one", "two", "three"), 1):
        await page.ask(text, tokens=1)
        await page.until_jobs("completed", number)
    first, second, third = await page.job_ids()
    await page.call("click", f'[data-job="{second}"] .facts >> text=Edit')
    await page.until("document.getElementById('input').value === 'two'")
    await page.type("!")
    await page.press("Enter")
    await page.until(f"!document.querySelector('[data-job=\"{third}\"]')")
    await page.until_jobs("completed", 2)
    [kept, edited] = await page.job_ids()
    assert kept == first
    await page.call("reload")
    await page.until_jobs("completed", 2)
    assert await page.job_ids() == [first, edited], "a reload shows the same path"
    await page.ask("four", tokens=1)
    await page.until_jobs("completed", 3)
