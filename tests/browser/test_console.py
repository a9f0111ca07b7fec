"""The console in a browser: what operators see and do, by keyboard alone, and its accessibility."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.browser.conftest import Stack
from tests.support.browser import Browsers, Context, Page
from tests.support.node import FOLDER
from tests.support.process import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

AXE = FOLDER / "node_modules" / "axe-core" / "axe.min.js"
VIOLATIONS = """axe.run().then(({ passes, violations }) => [
    passes.length > 10, violations.map(({ id, nodes }) => [id, nodes.map((node) => node.html)])])"""
LOOKS = [
    {"colorScheme": "light"},
    {"colorScheme": "dark"},
    {"colorScheme": "light", "viewport": {"width": 360, "height": 740}},
]
TARGET = os.environ.get("SCREENSHOT_CONSOLE")  # read before the test environment is cleaned
MAX_BYTES = 120_000
# Counts the heights that scripts read of a table that they change: each lays the page out again.
COUNT_LAYOUTS = """
    window.layouts = 0;
    const { get } = Object.getOwnPropertyDescriptor(Element.prototype, "scrollHeight");
    Object.defineProperty(Element.prototype, "scrollHeight", { get() { window.layouts += 1; return get.call(this); } });
"""
ADD_STATUSES = """(async () => {
    const { EventTable } = await import("/web/console-events.js");
    const frames = [];
    let before = 0;
    const table = new EventTable({ copy() {}, drawn() {
        const lines = table.root.querySelectorAll("tbody tr").length;
        frames.push(lines - before);
        before = lines;
    } });
    document.body.replaceChildren(table.root);
    const event = (at) => ({ type: "status", id: `1-${at}`, job_id: "a", message: `${at}` });
    for (let at = 0; at < %d; at += 1) table.add({ event: event(at), kind: null, time: "", after_s: null });
    window.frames = frames;
})()"""
TIMES = "[...document.querySelectorAll('.events tbody tr')].map((row) => row.children[3].textContent)"
ANSWER = """window.fetch = async () =>
    new Response(new ReadableStream({ start: (body) => body.error(new TypeError("cut")) }))"""
CALL = """import("/web/console-calls.js").then(({ call }) => call("v1/overview"))
    .then(() => "an answer", (error) => [error.constructor.name, error.status, error.message])"""


async def opened(stack: Stack, view: str, context: Context | None = None) -> Page:
    return await (context or stack.context).page(f"{stack.gateway.url}/console#/{view}")


async def posted(stack: Stack, session: str, given: Any = "hi", **options: object) -> str:
    async with stack.client() as client:

        async def offered() -> bool:
            return "scripted" in (await client.get("/v1/agents")).text

        await until(offered)
        body = {"agent": "scripted", "input": given, "options": options}
        answer = await client.post(f"/v1/sessions/{session}/jobs", json=body)
        return str(answer.json()["job_id"])


async def tab_to(page: Page, selector: str) -> None:
    """Press Tab until an element that matches has the focus."""
    for _ in range(60):
        await page.press("Tab")
        if await page.evaluate(f"document.activeElement.matches({json.dumps(selector)})"):
            return
    pytest.fail(f"no tab stop at {selector}")


async def test_a_session_is_searched_and_opened_by_keyboard_alone(stack: Stack) -> None:
    for session in ("tea", "coffee"):
        await posted(stack, session, tokens=2)
    page = await opened(stack, "overview")
    await tab_to(page, "a[href='#/sessions']")
    await page.press("Enter")
    await page.until("document.querySelectorAll('tbody tr').length === 2")
    await tab_to(page, "#search")
    await page.type("TEA")
    await page.press("Enter")
    await page.until("document.querySelectorAll('tbody tr').length === 1")
    await tab_to(page, "a[href='#/sessions/tea']")
    await page.press("Enter")
    await page.until("document.querySelector('h2').textContent === 'Session tea'")
    await page.until("document.body.textContent.includes('job.completed')")


async def test_a_cut_connection_resumes_without_a_lost_or_doubled_event(stack: Stack) -> None:
    await posted(stack, "tea", tokens=150, interval_ms=20)
    page = await opened(stack, "sessions/tea")
    await page.until("document.body.textContent.includes('text.delta')")
    for _ in range(2):
        await page.call("click", "#cut")
        await page.until("document.getElementById('cut').getAttribute('aria-pressed') === 'true'")
        await page.call("click", "#cut")
        await page.until("document.getElementById('cut').getAttribute('aria-pressed') === 'false'")
    await page.until("document.body.textContent.includes('job.completed')")
    await page.call("click", "text=Compare with the log")
    await page.until("document.getElementById('facts').textContent.includes('0 lost, 0 twice')")
    assert "over 3 connections" in await page.shown("#facts")


async def test_thousands_of_deltas_are_laid_out_a_few_times_and_share_a_few_rows(stack: Stack) -> None:
    await posted(stack, "tea", tokens=5000, interval_ms=0)
    page = await opened(stack, "sessions/tea")
    await page.until("document.body.textContent.includes('job.completed')")
    await page.call("addInitScript", {"content": COUNT_LAYOUTS})
    await page.call("reload")
    await page.until("document.getElementById('facts').textContent.startsWith('5002 events received')")
    await page.until("document.body.textContent.includes('job.completed')")
    assert await page.evaluate("document.querySelectorAll('.events tbody tr').length") <= 10
    assert await page.evaluate("window.layouts") <= 500
    assert "1,000 × text.delta" in str(await page.evaluate("document.body.innerText"))


async def test_folded_deltas_are_opened_by_keyboard_and_closed_again(stack: Stack) -> None:
    await posted(stack, "tea", tokens=300, interval_ms=0)
    page = await opened(stack, "sessions/tea")
    await page.until("document.body.textContent.includes('job.completed')")
    await page.until("document.querySelector('[aria-expanded]').textContent === '300 × text.delta'")
    assert "1,390 characters" in await page.shown("tr:has([aria-expanded])")
    await tab_to(page, "[aria-expanded]")
    await page.press("Enter")
    await page.until("document.querySelectorAll('.events tbody tr').length === 303")
    assert '"text":"w299 "' in str(await page.evaluate("document.querySelector('.events').textContent"))
    await page.press("Enter")
    await page.until("document.querySelectorAll('.events tbody tr').length === 3")


async def test_a_frame_draws_a_bounded_number_of_rows_and_old_rows_are_dropped(blank: Page) -> None:
    await blank.evaluate(ADD_STATUSES % 3000)
    await blank.until("document.querySelector('tbody:last-child td')?.textContent === '1-2999'")
    assert await blank.evaluate("document.querySelectorAll('tbody tr').length") == 1000
    assert await blank.evaluate("Math.max(...window.frames)") <= 100


async def test_a_time_between_events_is_shown_of_those_that_arrived_as_they_were_written(stack: Stack) -> None:
    await posted(stack, "tea", tokens=3)
    page = await opened(stack, "sessions/tea")
    await page.until("document.body.textContent.includes('job.completed')")
    replayed = await page.evaluate(TIMES)
    assert [bool(time) for time in replayed] == [True, False, True]  # a delta does not say when it was written
    assert all(time[2] == time[5] == ":" for time in replayed if time)
    await posted(stack, "tea", tokens=3)
    await page.until("document.querySelectorAll('[data-kind=attempt]').length === 2")
    await page.until(f"{TIMES}.length === 6")
    assert [time[:1] for time in (await page.evaluate(TIMES))[-2:]] == ["+", "+"]


async def test_an_answer_that_breaks_off_is_an_error_of_the_call(blank: Page) -> None:
    await blank.evaluate(f"void ({ANSWER})")
    assert await blank.evaluate(CALL) == ["CallError", 0, "The gateway's answer could not be read."]


async def test_a_running_job_is_cancelled_and_retried(stack: Stack) -> None:
    await posted(stack, "tea", tokens=10_000, interval_ms=20)
    page = await opened(stack, "sessions/tea")
    await page.call("click", "text=Cancel")
    await page.until("document.body.textContent.includes('job.cancelled')")
    await page.call("click", "text=Retry")
    await page.until("document.querySelectorAll('[data-kind=attempt]').length === 2")


async def test_a_worker_is_drained(stack: Stack) -> None:
    page = await opened(stack, "workers")
    await page.call("click", "text=Drain")
    await until(lambda: not stack.worker.running, describe=stack.worker.describe)
    assert "worker drains" in stack.worker.output()


async def test_the_overview_shows_the_queue_and_plots(stack: Stack) -> None:
    await posted(stack, "tea", tokens=10_000, interval_ms=20)
    page = await opened(stack, "overview")
    await page.until("document.querySelector('[aria-label=\"Queue by agent\"] td')?.textContent === 'scripted'")
    await page.until("document.querySelectorAll('polyline[points]').length >= 3")
    await page.until("/Workers: 1. Jobs: 1 running/.test(document.body.textContent)")


async def test_nothing_from_a_client_becomes_markup(stack: Stack) -> None:
    attack = "<img src=x onerror='window.attacked = true'><script>window.attacked = true</script>"
    await posted(stack, "tea", attack, tokens=2)
    page = await opened(stack, "sessions")
    await page.until("document.querySelector('td a')?.textContent.startsWith('<img')")
    await page.evaluate("void (location.hash = '#/sessions/tea')")
    await page.until("document.body.textContent.includes('job.completed')")
    assert await page.evaluate("document.querySelectorAll('main img, main script').length") == 0
    assert await page.evaluate("window.attacked === undefined")


@pytest.mark.parametrize("look", LOOKS, ids=["light", "dark", "mobile"])
async def test_axe_finds_nothing_in_any_view(stack: Stack, browsers: Browsers, look: dict[str, Any]) -> None:
    await posted(stack, "tea", tokens=3)
    context = await (await browsers.running()).context(bypassCSP=True, **look)
    for view, ready in {
        "overview": "document.querySelector('polyline[points]')",
        "sessions": "document.querySelector('td a')",
        "workers": "document.querySelector('td button')",
        "sessions/tea": "document.body.textContent.includes('job.completed')",
    }.items():
        page = await opened(stack, view, context)
        await page.until(ready)
        await page.evaluate(AXE.read_text("utf-8"))
        assert await page.evaluate(VIOLATIONS) == [True, []]
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        await page.call("close")
    await context.close()


async def test_the_console_can_be_captured(stack: Stack, browsers: Browsers, tmp_path: Path) -> None:
    picture = Path(TARGET or tmp_path / "console.png")
    for number in range(3):
        await posted(stack, f"session-{number}", tokens=2000, interval_ms=20)
    context = await (await browsers.running()).context(viewport={"width": 1000, "height": 620}, colorScheme="light")
    page = await opened(stack, "overview", context)
    await page.until("document.querySelectorAll('polyline[points]').length === 4")
    if TARGET:
        for session in ("tea", "coffee", "milk"):
            await posted(stack, session, tokens=300, interval_ms=10)
        await page.until("document.querySelector('polyline').getAttribute('points').split(' ').length > 12")
    await page.call("screenshot", {"path": str(picture.resolve())})
    await context.close()
    assert picture.stat().st_size < MAX_BYTES
