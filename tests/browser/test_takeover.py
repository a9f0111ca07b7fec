"""A worker gets SIGKILL in the middle of an answer that people watch: the page says so, and is never wrong."""

from __future__ import annotations

import json

import pytest

from tests.browser.conftest import Stack
from tests.browser.test_page import assert_shows_the_log
from tests.support.browser import Page
from tests.support.process import Process

pytestmark = pytest.mark.asyncio(loop_scope="module")

TOKENS = 250
WHOLE = "".join(f"w{number} " for number in range(TOKENS))
NOTICE = """[...document.querySelectorAll("[data-job] .notice")].some(
    (notice) => notice.checkVisibility() && notice.textContent.includes("took over and began again (attempt 2)"))"""
REMEMBER_WHAT_IS_SHOWN = """void (() => {
    window.shown = new Set();
    window.discarded = new Set();
    const look = () => {
        window.shown.add(document.querySelector("[data-job] .markdown")?.textContent ?? "");
        window.discarded.add(document.querySelector("[data-job] .discarded:not([hidden])")?.textContent ?? "");
    };
    new MutationObserver(look).observe(document.getElementById("turns"),
        { childList: true, characterData: true, subtree: true });
})()"""


async def two_workers(stack: Stack) -> list[Process]:
    """Replace the worker by two whose lease is one second."""
    stack.worker.kill()
    workers = [stack.processes.worker(stack.redis_url, HOLDFAST_LEASE_SECONDS="1") for _ in range(2)]
    for worker in workers:
        await worker.until_output("worker started")
    return workers


async def kill_the_lease_owner(stack: Stack, workers: list[Process], job_id: str, session_id: str = "session") -> None:
    """Send SIGKILL to the worker that runs the job."""
    async with stack.client() as client:
        lease_owner = (await client.get(f"/v1/sessions/{session_id}/jobs/{job_id}")).json()["worker"]
    [victim] = [worker for worker in workers if lease_owner in worker.output()]
    victim.kill()


async def assert_never_showed_anything_else(page: Page) -> None:
    """Check that the page showed only beginnings of the right text, and finally all of it."""
    shown = json.loads(await page.evaluate("JSON.stringify([...window.shown])"))
    assert [text for text in shown if not WHOLE.startswith(text)] == []
    assert WHOLE.rstrip() in shown  # Markdown drops the space at the end


async def test_who_watches_sees_the_takeover_and_the_right_text(stack: Stack, page: Page) -> None:
    workers = await two_workers(stack)
    other = await stack.page()
    for tab in (page, other):
        await tab.evaluate(REMEMBER_WHAT_IS_SHOWN)
    await page.ask("count", tokens=TOKENS, interval_ms=20)
    await page.until_written(400)
    await other.until_written(400)
    [job_id] = await page.job_ids()
    assert not await page.evaluate(NOTICE)
    await kill_the_lease_owner(stack, workers, job_id)
    for tab in (page, other):
        await tab.until(f"{NOTICE} && document.querySelector('[data-job][data-status=running]')")
        await tab.until("window.discarded.size > 1")
    for tab in (page, other):
        await assert_shows_the_log(stack, tab)
        await assert_never_showed_anything_else(tab)
        await tab.until_text(job_id, WHOLE)
        assert await tab.evaluate(NOTICE)
        await tab.until("document.querySelector('[data-job] .discarded').hidden")


async def test_who_reloads_while_nobody_has_the_job_sees_the_takeover_too(stack: Stack, page: Page) -> None:
    workers = await two_workers(stack)
    await page.ask("count", tokens=TOKENS, interval_ms=20)
    await page.until_written(400)
    [job_id] = await page.job_ids()
    await kill_the_lease_owner(stack, workers, job_id)
    await page.call("reload")
    await page.until_written(400)
    await page.until(NOTICE)
    await page.call("reload")
    await page.until_jobs("running")
    assert await page.evaluate(NOTICE)
    await assert_shows_the_log(stack, page)
    await page.until_text(job_id, WHOLE)


async def test_a_silent_worker_is_announced_until_another_one_continues(stack: Stack, page: Page) -> None:
    notice = "[...document.querySelectorAll('[data-job] .notice')].some((each) => each.checkVisibility() && %s)"
    silent = notice % "each.textContent.startsWith('The worker is silent')"
    await page.ask("count", tokens=2000, interval_ms=20)
    await page.until_written(20)
    assert not await page.evaluate(silent)
    stack.worker.kill()
    await page.until(silent)
    assert await page.shown("#connection") == "Connected"
    assert not await page.evaluate("document.querySelector('.live').checkVisibility()")
    stack.worker = stack.processes.worker(stack.redis_url, HOLDFAST_LEASE_SECONDS="1")
    await page.until(f"!{silent}")
    await page.until(notice % "each.textContent.includes('attempt 2')")
    await page.call("click", "#stop")
    await page.until_jobs("cancelled")
