"""The form for an agent whose input is an object: one field each, and the gateway's errors at their fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from tests.browser.conftest import Stack
from tests.browser.test_accessibility import assert_accessible
from tests.browser.test_console import AXE, LOOKS
from tests.support.browser import Browsers, Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGENT = """
from typing import Literal

from pydantic import BaseModel, Field

from holdfast.worker import Run, agent


class Trip(BaseModel):
    city: str = Field(min_length=2, description="Where to")
    days: int = Field(default=1, ge=1, le=14)
    budget: float | None = None
    pace: Literal["slow", "fast"]
    outside: bool = False


@agent
async def planner(run: Run, trip: Trip):
    yield trip.model_dump_json()


@agent
async def adder(run: Run, numbers: list[int]):
    yield str(sum(numbers))
"""
FIELDS = "#input-fields .field"
PROBLEMS = "[...document.querySelectorAll('#input-fields .problem')].map((each) => each.textContent)"


async def choose(page: Page, agent: str) -> None:
    await page.call("focus", "#agent")
    await page.until(f"[...document.getElementById('agent').options].some(option => option.value === '{agent}')")
    await page.call("selectOption", "#agent", agent)


@pytest_asyncio.fixture(loop_scope="module")
async def typed(stack: Stack, tmp_path: Path) -> Stack:
    """A worker that offers an agent with a typed input."""
    (tmp_path / "typed_agents.py").write_text(AGENT)
    await stack.offer("typed_agents", "planner", PYTHONPATH=str(tmp_path))
    return stack


async def fill_in(page: Page, city: str, days: str) -> None:
    await page.call("fill", f"{FIELDS}:nth-child(1) textarea", city)
    await page.call("fill", f"{FIELDS}:nth-child(2) input", days)
    await page.call("selectOption", f"{FIELDS}:nth-child(4) select", {"label": "fast"})


async def test_a_typed_agent_has_a_form_and_a_chat_agent_a_message(typed: Stack, page: Page) -> None:
    await choose(page, "planner")
    labels = f"[...document.querySelectorAll('{FIELDS} label')].map(each => each.textContent)"
    assert await page.evaluate(labels) == ["City", "Days optional", "Budget optional", "Pace", "Outside"]
    hints = f"[...document.querySelectorAll('{FIELDS} > .aside')].map(each => each.textContent)"
    assert await page.evaluate(hints) == ["Where to", "1 to 14", "", "", ""]
    assert await page.evaluate(f"document.querySelector('{FIELDS} input').value") == "1"
    assert not await page.evaluate("document.getElementById('input').checkVisibility()")
    await choose(page, "scripted")
    assert await page.evaluate("document.getElementById('input').checkVisibility()")
    assert await page.evaluate("document.getElementById('input-fields').hidden")


async def test_the_fields_are_sent_as_the_input(typed: Stack, page: Page) -> None:
    await choose(page, "planner")
    await page.call("focus", f"{FIELDS} textarea")
    await page.press("Enter")
    await page.until(f"{PROBLEMS}[3] === 'This is needed.'")
    assert await page.evaluate("document.activeElement.matches('select[aria-invalid=true]')")
    await fill_in(page, "Rome", "2")
    await page.call("focus", f"{FIELDS} textarea")
    await page.press("Enter")
    await page.until_jobs("completed")
    [job_id] = await page.job_ids()
    expected = '{"city":"Rome","days":2,"budget":null,"pace":"fast","outside":false}'
    await page.until_text(job_id, expected)
    assert await page.evaluate(f"document.querySelector('{FIELDS} textarea').value") == ""
    await page.call("click", ".facts >> text=Edit")
    await page.until(f"document.querySelector('{FIELDS} textarea').value === 'Rome'")
    assert await page.evaluate(f"document.querySelector('{FIELDS} input').value") == "2"
    assert await page.evaluate("document.activeElement.closest('.field') !== null")


async def test_the_gateways_errors_are_shown_at_their_fields(typed: Stack, page: Page) -> None:
    await choose(page, "planner")
    await fill_in(page, "R", "15")
    await page.call("click", "#send")
    await page.until(f"{PROBLEMS}[0] === 'Must have at least 2 characters'")
    assert await page.evaluate(PROBLEMS) == ["Must have at least 2 characters", "Must be at most 14", "", "", ""]
    assert await page.evaluate(f"document.querySelector('{FIELDS} textarea').value") == "R"
    assert await page.evaluate("document.getElementById('problem').hidden")
    await fill_in(page, "Rome", "14")
    await page.call("click", "#send")
    await page.until_jobs("completed")
    await page.until(f"{PROBLEMS}.every((each) => each === '')")


async def test_a_field_of_another_kind_is_written_as_json(typed: Stack, page: Page) -> None:
    await choose(page, "adder")
    await page.call("fill", f"{FIELDS} textarea", "[1, 2")
    await page.call("click", "#send")
    await page.until(f"{PROBLEMS}[0] === 'This is not JSON.'")
    await page.call("fill", f"{FIELDS} textarea", "[1, 2]")
    await page.call("click", "#send")
    await page.until_jobs("completed")
    [job_id] = await page.job_ids()
    await page.until_text(job_id, "3")


@pytest.mark.parametrize("look", LOOKS, ids=["light", "dark", "mobile"])
async def test_axe_finds_nothing_in_the_form(typed: Stack, browsers: Browsers, look: dict[str, Any]) -> None:
    context = await (await browsers.running()).context(bypassCSP=True, **look)
    page = await context.page(typed.url)
    await page.until("!document.getElementById('agent').disabled")
    await choose(page, "planner")
    await page.call("click", "#send")
    await page.until(f"{PROBLEMS}[3] === 'This is needed.'")
    await page.evaluate(AXE.read_text("utf-8"))
    await assert_accessible(page)
    await context.close()
