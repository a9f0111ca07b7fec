"""The page by keyboard alone: every action, with a focus that is always visible and never lost."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.browser.conftest import Stack
from tests.browser.test_console import LOOKS, tab_to
from tests.support.browser import Browsers, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

# The composer's outline is that of the form around it, a shadow.
FOCUS = """(() => {
    const focused = document.activeElement;
    const ring = focused.id === "input" ? focused.form : focused;
    const { outlineStyle, outlineWidth, boxShadow } = getComputedStyle(ring);
    return [focused !== document.body && focused.checkVisibility(), focused.matches(":focus-visible"),
        (outlineStyle !== "none" && parseFloat(outlineWidth) >= 2) || / 0px 0px 0px 3px/.test(boxShadow)];
})()"""
FENCE = "```js\nlet a = 1;\n```\n"
SHOW_CODE = f"""import("/web/markdown.js").then(({{ Markdown }}) =>
    void new Markdown(document.querySelector(".markdown")).update({json.dumps(FENCE)}))"""
CLIPBOARD = """void Object.defineProperty(navigator, "clipboard",
    { value: { writeText: async (text) => { window.copied = text; } } })"""


class Keys:
    """A tab that is driven by keys; each of them must leave the focus on something visible."""

    def __init__(self, page: Page) -> None:
        self.page = page

    async def focused(self) -> None:
        await self.page.evaluate("new Promise(requestAnimationFrame).then(() => new Promise(requestAnimationFrame))")
        assert await self.page.evaluate(FOCUS) == [True, True, True], await self.page.evaluate(
            "document.activeElement.outerHTML"
        )

    async def press(self, *keys: str) -> None:
        for key in keys:
            await self.page.press(key)
            await self.focused()

    async def to(self, selector: str) -> None:
        await tab_to(self.page, selector)
        await self.focused()

    async def choose(self, agent: str) -> None:
        await self.to("#agent")
        await self.press(agent[0])
        await self.page.until(f"document.getElementById('agent').value === '{agent}'")

    async def ask(self, text: str, **options: Any) -> None:
        """Choose the scripted agent, write its options, and send a message."""
        await self.choose("scripted")
        await self.to("#options-toggle")
        await self.press("Enter")
        await self.page.until("document.activeElement.id === 'options'")
        await self.press("Control+A", "Delete")
        await self.page.type(json.dumps(options))
        await self.press("Escape")
        await self.page.until("document.activeElement.id === 'options-toggle'")
        await self.to("#input")
        await self.page.type(text)
        await self.press("Enter")

    async def until_in_composer(self) -> None:
        await self.page.until("document.activeElement.id === 'input'")
        await self.focused()


@pytest_asyncio.fixture(loop_scope="module", params=LOOKS, ids=["light", "dark", "mobile"])
async def keys(stack: Stack, browsers: Browsers, request: pytest.FixtureRequest) -> AsyncIterator[Keys]:
    context = await (await browsers.running()).context(**request.param)
    page = await context.page(stack.url)
    await page.until("!document.getElementById('agent').disabled")
    yield Keys(page)
    await context.close()


async def test_a_message_is_sent_edited_sent_again_and_its_answer_copied(keys: Keys) -> None:
    page = keys.page
    await keys.ask("tea", tokens=3)
    await page.until_jobs("completed")
    await keys.until_in_composer()
    await page.evaluate(CLIPBOARD)
    await page.evaluate(SHOW_CODE)
    await keys.to("pre .copy")
    await keys.press("Enter")
    await page.until("window.copied === 'let a = 1;'")
    await keys.to(".facts button:last-child")
    await keys.press("Enter")
    await page.until("document.getElementById('input').value === 'tea'")
    await keys.until_in_composer()
    await page.type(" with milk")
    await keys.press("Enter")
    await page.until("document.querySelector('.said')?.textContent === 'tea with milk'")
    await page.until_jobs("completed")


async def test_a_failed_job_is_retried(keys: Keys) -> None:
    await keys.ask("break", tokens=5, fail_at=3)
    await keys.page.until_jobs("failed")
    [failed] = await keys.page.job_ids()
    await keys.to(".facts button:nth-last-child(2)")
    await keys.press("Enter")
    await keys.page.until(f"!document.querySelector('[data-job=\"{failed}\"]')")
    await keys.page.until_jobs("failed")
    await keys.focused()


async def test_only_escape_in_composer_or_log_stops_the_answer(keys: Keys) -> None:
    page = keys.page
    await keys.ask("count", tokens=10_000, interval_ms=20)
    await page.until_written(20)
    await keys.to("#new")
    await keys.press("Escape")
    await keys.to("#sessions-open")
    await keys.press("Enter")
    await page.until("document.getElementById('sessions').open")
    await keys.press("Escape")
    await page.until("document.activeElement.id === 'sessions-open'")
    await page.until("!document.getElementById('stop').disabled && !document.getElementById('stop').hidden")
    await keys.to("#input")
    await keys.press("Escape")
    await page.until_jobs("cancelled")
    await keys.until_in_composer()


async def test_the_stop_button_gives_the_focus_to_the_composer(keys: Keys) -> None:
    await keys.ask("count", tokens=10_000, interval_ms=20)
    await keys.page.until_written(20)
    await keys.to("#stop")
    await keys.press("Enter")
    await keys.page.until_jobs("cancelled")
    await keys.until_in_composer()


async def test_questions_are_answered_in_the_composer_and_in_their_forms(stack: Stack, keys: Keys) -> None:
    page = keys.page
    await keys.ask("go", ask="Shall I?", tokens=3)
    await page.until_shown("#send", "Answer")
    await page.type("yes")
    await keys.press("Enter")
    await page.until_jobs("completed")
    await keys.until_in_composer()

    await stack.offer("examples.ask_a_person", "ask_a_person")
    await page.call("reload")
    await page.until("!document.getElementById('agent').disabled")
    await keys.choose("ask_a_person")
    await keys.to("#input")
    await page.type("a table")
    await keys.press("Enter")
    await keys.to(".question[data-state=waiting] select")
    await keys.press("ArrowDown", "Escape", "Tab")
    await page.type("4")
    await keys.press("Tab", "Space")
    await keys.to(".question[data-state=waiting] .send")
    await keys.press("Enter")
    await page.until("!!document.querySelector('.question[data-state=waiting] .choice')")
    await keys.until_in_composer()
    await keys.to(".choice")
    await keys.press("Enter")
    await page.until_jobs("completed", 2)
    await keys.until_in_composer()


async def test_another_conversation_is_opened_and_a_new_one_begun(stack: Stack, keys: Keys) -> None:
    page = keys.page
    async with stack.client() as client:
        body = {"agent": "scripted", "input": "of tea", "options": {"tokens": 2}}
        assert (await client.post("/v1/sessions/tea/jobs", json=body)).status_code == 202
    await keys.to("#sessions-open")
    await keys.press("Enter")
    await page.until("document.activeElement.getAttribute('href') === '#tea'")
    await keys.press("ArrowDown", "ArrowUp", "Enter")
    await page.until_shown(".said", "of tea")
    await keys.until_in_composer()
    await keys.to("#new")
    await keys.press("Enter")
    await page.until("location.hash !== '#tea' && !document.getElementById('empty').hidden")
    await keys.until_in_composer()
