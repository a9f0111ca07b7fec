"""A question in the page: a form for every kind of answer, the same in every tab, and one answer that counts."""

from __future__ import annotations

import json
from typing import Any

import pytest
import pytest_asyncio

from tests.browser.conftest import Stack
from tests.support.browser import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

WAITING = ".question[data-state=waiting]"
ANSWERED = ".question[data-state=answered]"


@pytest_asyncio.fixture(loop_scope="module")
async def page(stack: Stack) -> Page:
    """A tab on a worker that offers the example that asks."""
    await stack.offer("examples.ask_a_person", "ask_a_person")
    page = await stack.page()
    await page.until("!document.getElementById('agent').disabled")
    return page


async def asked(page: Page) -> None:
    await page.until(f"document.querySelector('{WAITING} form:not([hidden])')")


async def ask_for_a_table(page: Page) -> None:
    await page.ask("a table", agent="ask_a_person")
    await asked(page)


async def fill_in(page: Page, guests: int = 4) -> None:
    await page.call("selectOption", f"{WAITING} select", {"label": "tomorrow"})
    await page.call("fill", f"{WAITING} input[type=number]", str(guests))
    await page.call("click", f"{WAITING} .send")


async def given(page: Page) -> str:
    await page.until(f"document.querySelector('{ANSWERED} .given:not([hidden])')")
    return await page.shown(f"{ANSWERED} .given")


async def test_a_question_is_answered_in_its_form_and_the_agent_goes_on(stack: Stack, page: Page) -> None:
    await ask_for_a_table(page)
    await page.until("document.title.startsWith('? ')")
    await page.until_shown("#announcer", "A question for you: For when, and how many?")
    await page.call("click", f"{WAITING} input[type=checkbox]")
    await fill_in(page)
    assert await given(page) == "whentomorrowguests4outsideYes"
    await page.until(f"document.querySelector('{WAITING} .prompt').textContent === 'Book it now?'")
    await page.call("click", f"{WAITING} .choice")
    await page.until_jobs("completed")
    [job_id] = await page.job_ids()
    await page.until_text(job_id, "I can book that table. A table outside for 4, tomorrow. Done.")


async def test_a_question_is_there_again_after_a_refresh_and_so_is_its_answer(stack: Stack, page: Page) -> None:
    await ask_for_a_table(page)
    await page.call("reload")
    await asked(page)
    await page.until_jobs("waiting")
    await fill_in(page)
    await page.until("document.querySelectorAll('.question').length === 2")
    await page.call("reload")
    await page.until(f"document.querySelector('{WAITING} .prompt')?.textContent === 'Book it now?'")
    assert await given(page) == "whentomorrowguests4outsideNo"
    await page.call("click", f"{WAITING} .choice:nth-child(2)")
    await page.until_jobs("completed")
    await page.call("reload")
    await page.until(f"document.querySelectorAll('{ANSWERED}').length === 2")


async def test_what_one_tab_answers_the_other_shows(stack: Stack, page: Page) -> None:
    await ask_for_a_table(page)
    other = await stack.page()
    await asked(other)
    await fill_in(page)
    assert await given(other) == "whentomorrowguests4outsideNo"
    await other.until("document.querySelector('.question form').hidden")


async def test_who_answers_second_is_told_so_and_sees_the_first_answer(stack: Stack, page: Page) -> None:
    await ask_for_a_table(page)
    stack.worker.kill()  # so that the first answer is not told before the second is given
    [job_id] = await page.job_ids()
    async with stack.client() as client:
        answer = {"value": {"when": "today", "guests": 1}}
        assert (await client.post(f"/v1/sessions/session/jobs/{job_id}/answer", json=answer)).status_code == 202
    await fill_in(page)
    await page.until(
        "document.querySelector('.question .outcome').textContent === 'Somebody has answered this already.'"
    )
    await stack.offer("examples.ask_a_person", "ask_a_person")
    assert await given(page) == "whentodayguests1"


async def test_what_is_missing_or_refused_is_said_at_its_field(stack: Stack, page: Page) -> None:
    await ask_for_a_table(page)
    await page.call("click", f"{WAITING} .send")
    problem = "document.querySelector('.question .field:nth-child(%d) .problem').textContent"
    await page.until(f"{problem % 1} === 'This is needed.'")
    await fill_in(page, guests=40)
    await page.until(f"{problem % 2} === 'Must be at most 12'")
    await asked(page)
    await page.until(f"{problem % 1} === ''")
    await fill_in(page, guests=12)
    assert await given(page) == "whentomorrowguests12outsideNo"


async def test_a_question_is_answered_by_keyboard_and_escape_in_it_does_not_stop_the_job(
    stack: Stack, page: Page
) -> None:
    await page.ask("go", ask="Shall I?", tokens=3)
    await asked(page)
    await page.call("focus", f"{WAITING} textarea")
    await page.type("yes")
    await page.press("Escape")
    await page.call("focus", f"{WAITING} textarea")
    await page.press("Shift+Enter")
    await page.type("do")
    await page.press("Enter")
    assert await given(page) == "yes\ndo"
    await page.until_jobs("completed")


async def test_a_question_of_a_job_that_was_stopped_is_not_asked_any_more(stack: Stack, page: Page) -> None:
    await ask_for_a_table(page)
    await page.call("click", "#stop")
    await page.until_jobs("cancelled")
    await page.until("document.querySelector('.question .outcome').textContent === 'Nobody answered this.'")
    await page.until("document.querySelector('.question form').hidden")


async def test_an_answer_given_while_the_gateway_is_away_arrives_when_it_is_back(stack: Stack, page: Page) -> None:
    await ask_for_a_table(page)
    stack.gateway.kill()
    await fill_in(page)
    await page.until("document.querySelector('.question .outcome').textContent === 'Sending your answer…'")
    await stack.restart_gateway()
    assert await given(page) == "whentomorrowguests4outsideNo"


FORMS: list[tuple[dict[str, Any], str, str, Any]] = [
    ({}, "textarea", "free text", "free text"),
    ({"type": "string", "format": "date"}, "input[type=date]", "2026-05-01", "2026-05-01"),
    ({"anyOf": [{"type": "integer"}, {"type": "null"}]}, "input[type=number]", "7", 7),
    ({"type": "number"}, "input[type=number]", "2.5", 2.5),
    ({"type": "array"}, "textarea.code", '["a", 1]', ["a", 1]),
    ({"$ref": "#/$defs/n", "$defs": {"n": {"type": "object"}}}, "textarea.code", '{"a": null}', {"a": None}),
    ({"properties": {"n": {"$ref": "#/$defs/n"}, "more": {"type": "string"}}, "type": "object",
      "$defs": {"n": {"type": "integer", "title": "How many"}}}, "input[type=number]", "5", {"n": 5}),
]  # fmt: skip


@pytest.mark.parametrize(("schema", "selector", "written", "value"), FORMS)
async def test_every_kind_of_value_has_a_field(
    blank: Page, schema: dict[str, Any], selector: str, written: str, value: Any
) -> None:
    script = f"""import("/web/form.js").then(({{ formOf }}) => {{
        const form = formOf({json.dumps(schema)}, "Label");
        form.root.querySelector({json.dumps(selector)}).value = {json.dumps(written)};
        return form.read();
    }})"""
    assert await blank.evaluate(script) == value


async def test_few_values_are_buttons_and_many_are_a_list(blank: Page) -> None:
    script = """import("/web/form.js").then(({ choicesOf, formOf }) => [
        choicesOf({ enum: ["a", 2, null] }),
        choicesOf({ type: "boolean" }),
        choicesOf({ enum: [1, 2, 3, 4, 5, 6, 7] }),
        formOf({ enum: [1, 2, 3, 4, 5, 6, 7] }, "n").root.querySelectorAll("option").length,
        choicesOf({ type: "string" }),
    ])"""
    few, boolean, many, options, none = await blank.evaluate(script)
    assert few == [["a", "a"], [2, "2"], [None, "Nothing"]]
    assert boolean == [[True, "Yes"], [False, "No"]]
    assert (many, options, none) == ([], 8, [])


async def test_json_that_is_none_is_told_and_not_sent(blank: Page) -> None:
    script = """import("/web/form.js").then(({ formOf }) => {
        const form = formOf({ type: "array" }, "List");
        form.root.querySelector("textarea").value = "[1,";
        try { form.read(); } catch (problem) { return [problem.constructor.name, problem.message]; }
    })"""
    assert await blank.evaluate(script) == ["Unfit", "This is not JSON."]
