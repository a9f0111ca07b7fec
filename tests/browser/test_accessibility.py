"""Accessibility of the page by axe-core: each of its states, in light, dark and on a small screen."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.browser.conftest import Stack
from tests.browser.test_console import AXE, LOOKS, VIOLATIONS
from tests.support.browser import Browsers, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAITING = ".question[data-state=waiting]"
CODE = '# Title\n\n```js\nlet a = "b"; // 1\n```\n\n```\nplain\n```\n\n| a |\n|-|\n| 1 |\n'
SHOW_CODE = f"""import("/web/markdown.js").then(({{ Markdown }}) =>
    void new Markdown(document.querySelector(".markdown")).update({json.dumps(CODE)}))"""
TOO_WIDE = """document.documentElement.scrollWidth <= innerWidth ? [] : [...document.querySelectorAll("*")]
    .filter((each) => each.getBoundingClientRect().right > innerWidth).map((each) => each.outerHTML)"""


async def assert_accessible(page: Page) -> None:
    assert await page.evaluate(VIOLATIONS) == [True, []]
    assert await page.evaluate(TOO_WIDE) == []


@pytest.mark.parametrize("look", LOOKS, ids=["light", "dark", "mobile"])
async def test_axe_finds_nothing_in_any_state_of_the_page(
    stack: Stack, browsers: Browsers, look: dict[str, Any]
) -> None:
    context = await (await browsers.running()).context(bypassCSP=True, reducedMotion="reduce", **look)
    page = await context.page(stack.url)
    await page.until("!document.getElementById('agent').disabled")
    await page.evaluate(AXE.read_text("utf-8"))
    await assert_accessible(page)  # an empty conversation

    await page.ask("look", tokens=3, tools=1)
    await page.until_jobs("completed")
    await page.evaluate(SHOW_CODE)
    await page.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
    await assert_accessible(page)

    await page.ask("break", tokens=3, fail_at=2)
    await page.until_jobs("failed")
    await page.call("click", "#options-toggle")
    await page.call("fill", "#options", "{")
    await page.until("!document.getElementById('options-problem').hidden")
    await assert_accessible(page)
    await page.call("click", "#options-toggle")

    await page.ask("go", ask="Shall I?", tokens=10_000, interval_ms=20)
    await page.until_shown("#send", "Answer")
    await page.until(f"document.querySelector('{WAITING} form:not([hidden])')")
    await assert_accessible(page)
    await page.call("fill", "#input", "yes")
    await page.press("Enter")
    await page.until_written(20)
    await assert_accessible(page)
    await page.press("Escape")
    await page.until_jobs("cancelled")
    await assert_accessible(page)

    await page.call("click", "#sessions-open")
    await page.until("document.querySelectorAll('#sessions-list a').length === 1")
    await assert_accessible(page)
    await context.close()


@pytest.mark.parametrize("look", LOOKS, ids=["light", "dark", "mobile"])
async def test_axe_finds_nothing_while_the_gateway_is_away(
    stack: Stack, browsers: Browsers, look: dict[str, Any]
) -> None:
    context = await (await browsers.running()).context(bypassCSP=True, reducedMotion="reduce", **look)
    page = await context.page(stack.url)
    await page.until("document.getElementById('connection').dataset.state === 'live'")
    await page.evaluate(AXE.read_text("utf-8"))
    stack.gateway.kill()
    await page.until("document.getElementById('banner').dataset.kind === 'lost'")
    await assert_accessible(page)
    await page.evaluate("document.getElementById('sign-in').showModal()")
    await assert_accessible(page)
    await context.close()
