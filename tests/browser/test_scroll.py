"""Scrolling while an answer streams: the page lets go at the first movement up, and follows again from the end on."""

from __future__ import annotations

import pytest
import pytest_asyncio

from tests.browser.conftest import Stack
from tests.support.browser import Browsers, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

ABOVE_PX = "document.getElementById('log').scrollTop"
BELOW_PX = "(log => log.scrollHeight - log.scrollTop - log.clientHeight)(document.getElementById('log'))"
FRAMES = "new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame))"
FOLLOWS = "document.getElementById('jump').hidden"


async def streaming(page: Page) -> Page:
    """A page in the middle of an answer of 100 tokens a second, longer than the window."""
    await page.ask("count", tokens=100_000, interval_ms=10)
    await page.until(f"{ABOVE_PX} > 100")
    return page


@pytest_asyncio.fixture(loop_scope="module")
async def answer(stack: Stack) -> Page:
    context = stack.context
    return await streaming(await context.page(stack.url))


async def assert_stays(page: Page) -> None:
    """Wait until more text has come, and the page has not moved down. What is scrolled smoothly may still move up."""
    await page.until(f"!{FOLLOWS}")
    before = await page.evaluate(ABOVE_PX)
    [job_id] = await page.job_ids()
    await page.until_written(len(await page.text(job_id)) + 500)
    await page.evaluate(FRAMES)
    assert await page.evaluate(ABOVE_PX) <= before


async def test_small_steps_of_a_wheel_move_up_while_an_answer_streams(answer: Page) -> None:
    await answer.call("mouse.move", 400, 200)
    for _ in range(60):
        await answer.call("mouse.wheel", 0, -6)
    await answer.until(f"{BELOW_PX} >= 100")
    await assert_stays(answer)


@pytest.mark.parametrize("key", ["ArrowUp", "PageUp", "Home"])
async def test_a_key_moves_up_while_an_answer_streams(answer: Page, key: str) -> None:
    await answer.call("focus", "#log")
    await answer.press(key)
    await answer.until(f"!{FOLLOWS}")
    await assert_stays(answer)


async def test_a_slow_finger_moves_up_while_an_answer_streams(stack: Stack, browsers: Browsers) -> None:
    context = await (await browsers.running()).context(hasTouch=True, viewport={"width": 390, "height": 740})
    page = await streaming(await context.page(stack.url))
    send = await context.devtools(page)
    await send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": [{"x": 200, "y": 200}]})
    for y in range(203, 450, 3):
        await send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": [{"x": 200, "y": y}]})
    await send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    await page.until(f"{BELOW_PX} >= 100")
    await assert_stays(page)
    await context.close()


async def test_the_page_follows_again_at_the_very_end_only(answer: Page) -> None:
    await answer.call("mouse.move", 400, 200)
    await answer.call("mouse.wheel", 0, -100)
    await answer.until(f"!{FOLLOWS}")
    await answer.call("click", "#stop")
    await answer.until_jobs("cancelled")
    await answer.evaluate(f"document.getElementById('log').scrollBy(0, {BELOW_PX} - 20)")
    await answer.evaluate(FRAMES)
    assert await answer.evaluate(FOLLOWS) is False
    await answer.evaluate("document.getElementById('log').scrollBy(0, 20)")
    await answer.until(FOLLOWS)


async def test_a_message_that_is_sent_is_followed(answer: Page) -> None:
    await answer.call("mouse.move", 400, 200)
    await answer.call("mouse.wheel", 0, -100)
    await answer.until(f"!{FOLLOWS}")
    await answer.call("click", "#stop")
    await answer.until_jobs("cancelled")
    await answer.ask("again", tokens=3)
    await answer.until_jobs("completed")
    await answer.evaluate(FRAMES)
    assert await answer.evaluate(FOLLOWS)
    assert await answer.evaluate(BELOW_PX) <= 2
