"""The page in a real browser, on a real gateway and worker: what is shown is what the log has, whatever happens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from holdfast.shared.ids import parse_id

from tests.browser.conftest import Stack
from tests.support.browser import Page

pytestmark = pytest.mark.asyncio(loop_scope="module")

LONG: dict[str, Any] = {"tokens": 400, "interval_ms": 20}
SHORT: dict[str, Any] = {"tokens": 20, "interval_ms": 20}
SHOWN = "document.querySelector('[data-job] .markdown').textContent"


async def assert_shows_the_log(stack: Stack, page: Page) -> None:
    """The text that is on the page and the text that it took in equal the log's, and no event was taken in twice."""
    await page.until_jobs("completed")
    [job_id] = await page.job_ids()
    expected = await stack.logged_text(job_id)
    await page.until_text(job_id, expected)
    # Markdown drops the space at the end of a paragraph.
    await page.until(f"{SHOWN} === {json.dumps(expected.rstrip())}")
    ids = [parse_id(id_) for id_ in await page.accepted()]
    assert ids == sorted(set(ids))
    assert expected.startswith("w0 w1 ")


async def test_an_answer_survives_three_refreshes_in_its_middle(stack: Stack, page: Page) -> None:
    await page.ask("count", **LONG)
    for characters in (50, 250, 500):
        await page.until_written(characters)
        await page.call("reload")
    await page.until_jobs("running")
    await assert_shows_the_log(stack, page)
    await page.until_shown(".said", "count")


async def test_a_new_conversation_has_no_request_that_fails(stack: Stack, page: Page) -> None:
    await page.call("goto", f"{stack.gateway.url}/")
    await page.until("document.getElementById('connection').dataset.state === 'live'")
    await page.ask("count", **SHORT)
    await page.until_jobs("completed")
    requests = "performance.getEntriesByType('resource').filter(({ responseStatus }) => responseStatus"
    assert await page.evaluate(f"{requests} >= 400).map(({{ name }}) => name)") == []
    assert await page.evaluate(f"{requests} === 200).length") > 10


async def test_a_second_tab_that_joins_late_shows_the_same(stack: Stack, page: Page) -> None:
    await page.ask("count", **LONG)
    await page.until_written(300)
    late = await stack.page()
    await late.until_jobs("running")
    await assert_shows_the_log(stack, page)
    await assert_shows_the_log(stack, late)
    await late.until_shown(".said", "count")


async def test_eight_tabs_load_and_follow_an_answer_over_one_connection(stack: Stack, page: Page) -> None:
    """A browser opens six connections per host."""
    tabs = [page, *[await stack.page() for _ in range(7)]]
    await tabs[-1].ask("count", **LONG)
    for tab in tabs:
        await assert_shows_the_log(stack, tab)
    async with stack.client() as client:
        assert "\nholdfast_viewers 1" in (await client.get("/metrics")).text


async def test_a_tab_that_was_open_first_hears_of_the_first_message_in_another(stack: Stack, page: Page) -> None:
    other = await stack.page()
    await other.ask("count", **SHORT)
    await assert_shows_the_log(stack, page)
    await page.until_shown(".said", "count")


async def test_the_stop_button_stops_the_answer_and_keeps_what_was_said(stack: Stack, page: Page) -> None:
    await page.ask("count", tokens=100_000, interval_ms=20)
    await page.until_written(20)
    await page.call("click", "#stop")
    await page.until_jobs("cancelled")
    [job_id] = await page.job_ids()
    assert (await page.text(job_id)).startswith("w0 w1 ")
    assert await page.text(job_id) == await stack.logged_text(job_id)
    await page.until_shown(".outcome", "Stopped.")
    await page.until("document.getElementById('stop').hidden")


async def test_the_page_tells_of_a_dead_gateway_and_comes_back_with_the_right_text(stack: Stack, page: Page) -> None:
    await page.ask("count", **LONG)
    await page.until_written(200)
    stack.gateway.kill()
    await page.until("document.getElementById('connection').textContent === 'Disconnected'")
    await page.until("document.getElementById('banner').textContent.startsWith('Connection lost')")
    await stack.restart_gateway()
    await page.until("document.getElementById('banner').textContent === 'Connected again.'")
    await assert_shows_the_log(stack, page)


async def test_a_message_sent_while_the_gateway_is_away_is_queued_once_when_it_is_back(
    stack: Stack, page: Page
) -> None:
    stack.gateway.kill()
    await page.ask("count", **SHORT)
    await page.until("document.getElementById('outbox').textContent.includes('Not sent yet')")
    await stack.restart_gateway()
    await assert_shows_the_log(stack, page)
    assert await stack.job_count() == 1


async def test_a_message_whose_reply_was_lost_is_queued_once(stack: Stack, page: Page) -> None:
    await page.evaluate(
        """void (() => {
            const send = window.fetch;
            window.fetch = async (path, call) => {
                const reply = await send(path, call);
                if (call?.method !== "POST") return reply;
                window.fetch = send;
                throw new TypeError("the reply was lost");
            };
        })()"""
    )
    await page.ask("count", **SHORT)
    await assert_shows_the_log(stack, page)
    assert await stack.job_count() == 1


async def test_a_double_click_sends_once(stack: Stack, page: Page) -> None:
    await page.ask("one", tokens=1)
    await page.until_jobs("completed")
    await page.call("fill", "#input", "two")
    await page.call("dblclick", "#send")
    await page.until_jobs("completed", count=2)
    assert await stack.job_count() == 2


async def test_everything_can_be_done_by_keyboard(stack: Stack, page: Page) -> None:
    await page.until("document.activeElement.id === 'input'")
    await page.press("Tab")
    await page.until("document.activeElement.id === 'agent'")
    await page.type("scripted")
    await page.press("Tab")
    await page.press("Enter")
    await page.until("document.activeElement.id === 'options'")
    await page.type('{"tokens": 100000, "interval_ms": 20}')
    await page.press("Escape")
    await page.until("document.activeElement.id === 'options-toggle'")
    await page.press("Shift+Tab")
    await page.press("Shift+Tab")
    await page.type("first line")
    await page.press("Shift+Enter")
    await page.type("second line")
    await page.press("Enter")
    await page.until_written(20)
    await page.until_shown(".said", "first line\nsecond line")
    await page.until("document.activeElement.id === 'input'")
    await page.press("Escape")
    await page.until_jobs("cancelled")
    await page.until("document.activeElement.id === 'input'")


async def test_focus_can_be_seen_wherever_it_is(page: Page) -> None:
    await page.call("fill", "#input", "so that Send can be focused")
    for _ in range(8):
        await page.press("Tab")
        focused = "document.activeElement"
        if await page.evaluate(f"{focused} === document.body || {focused}.id === 'input'"):
            continue
        assert await page.evaluate(f"getComputedStyle({focused}).outlineStyle") != "none", await page.evaluate(
            f"{focused}.outerHTML"
        )


async def test_messages_wait_in_line_and_one_can_be_taken_back(stack: Stack, page: Page) -> None:
    await page.ask("first", tokens=100_000, interval_ms=20)
    await page.until_jobs("running")
    for text in ("second", "third"):
        await page.ask(text, tokens=3)
    await page.until("[...document.querySelectorAll('.waiting')].some(line => line.textContent.includes('2 ahead'))")
    await page.call("click", "[data-job]:nth-of-type(2) .waiting button")
    await page.until_jobs("cancelled")
    await page.until("document.querySelectorAll('.waiting')[2].textContent.startsWith('Next in line')")
    await page.call("reload")
    await page.until_jobs("queued")
    # What was taken back before it ran is on no path.
    await page.until("document.querySelectorAll('.said')[1]?.textContent === 'third'")
    await page.press("Escape")
    await page.until_jobs("completed")


async def test_tool_calls_thoughts_and_results_are_there_again_after_a_refresh(stack: Stack, page: Page) -> None:
    await page.ask("look", tools=2, tokens=300)
    await page.until_written(50)
    await page.call("reload")
    for status in ("running", "completed"):
        await page.until_jobs(status)
        await page.until("document.querySelectorAll('.tool[data-state=done]').length === 2")
        await page.until_shown(".tool strong", "echo")
        await page.until_shown(".tool .preview", '{"number":0}')


async def test_an_outline_and_its_sections_are_there_again_after_a_refresh(stack: Stack, page: Page) -> None:
    await page.ask("What holds?", agent="demo")
    await page.until("document.querySelector('.section')")
    await page.call("reload")
    await page.until("document.querySelector('.section')?.textContent === 'What a holdfast is'")
    await page.until("document.querySelectorAll('.data li').length === 3")
    await page.until("document.querySelector('.live').textContent === 'Writing…'")
    await page.press("Escape")
    await page.until_jobs("cancelled")
    await page.call("reload")
    await page.until("document.querySelector('.section')?.textContent === 'What a holdfast is'")


async def test_what_went_wrong_is_told_in_words_also_after_a_refresh(stack: Stack, page: Page) -> None:
    await page.ask("fail", tokens=10, fail_at=5)
    for _ in range(2):
        await page.until_jobs("failed")
        await page.until("document.querySelector('.outcome.error')?.textContent.includes('fail after 5 tokens')")
        await page.until(f"{SHOWN} === 'w0 w1 w2 w3 w4'")
        await page.call("reload")


async def test_a_refused_message_goes_back_into_the_form_with_the_reason(stack: Stack, page: Page) -> None:
    await page.until("!document.getElementById('agent').disabled")
    await page.evaluate("document.getElementById('agent').append(new Option('nobody')) ")
    await page.call("selectOption", "#agent", "nobody")
    await page.call("fill", "#input", "is anybody there?")
    await page.press("Enter")
    await page.until("document.getElementById('problem').textContent.startsWith('No worker offers this agent')")
    assert await page.evaluate("document.getElementById('input').value") == "is anybody there?"


async def test_another_worker_takes_over_and_the_page_says_so(stack: Stack, page: Page) -> None:
    stack.worker.kill()
    for _ in range(2):
        stack.processes.worker(stack.redis_url, HOLDFAST_LEASE_SECONDS="1")
    await page.ask("crash", crash_at=100, **LONG)
    await page.until("document.querySelector('.notice')?.textContent.startsWith('Another worker took over')")
    await assert_shows_the_log(stack, page)


async def test_an_answer_whose_beginning_is_no_longer_kept_goes_on_without_a_hole(stack: Stack, page: Page) -> None:
    stack.worker.kill()
    stack.processes.worker(stack.redis_url, HOLDFAST_RETENTION_EVENTS="1000")
    await page.ask("count", tokens=4000, interval_ms=1)
    await page.until_written(15_000)
    await page.call("reload")
    await page.until("document.querySelector('#turns > .notice')?.textContent.startsWith('Part of this conversation')")
    await page.until_jobs("completed")
    [job_id] = await page.job_ids()
    whole = "".join(f"w{number} " for number in range(4000))
    text = await page.text(job_id)
    assert len(text) < len(whole)
    assert whole.endswith(text)
    await page.call("reload")
    await page.until_jobs("completed")
    await page.until_text(job_id, whole)


# Has the running job end between the page's read of the messages and its read of the states.
END_BETWEEN_READS = """(() => {
    const read = window.fetch;
    const json = async (url) => (await read(url)).json();
    let ended = false;
    window.fetch = async (url, options) => {
        if (!ended && String(url).includes("/session/jobs?")) {
            ended = true;
            const job = `/v1/sessions/session/jobs/${(await json("/v1/sessions/session")).job_id}`;
            await read(`${job}/cancel`, { method: "POST" });
            while ((await json(job)).status !== "cancelled") await new Promise((go) => setTimeout(go, 50));
        }
        return read(url, options);
    };
})()"""


async def test_usage_is_counted_once_when_a_job_ends_while_it_is_read_again_without_its_beginning(
    stack: Stack, page: Page, tmp_path: Path
) -> None:
    (tmp_path / "metered_agents.py").write_text(
        "from holdfast.worker import Run, agent\n\n@agent\nasync def metered(run: Run):\n"
        "    for number in range(3000):\n        await run.status(str(number))\n"
        "    await run.usage(7, 5, 'a-model')\n    await run.ask('Go on?')\n"
    )
    await stack.offer("metered_agents", "metered", PYTHONPATH=str(tmp_path), HOLDFAST_RETENTION_EVENTS="1000")
    await page.call("reload")
    await page.ask("count", agent="metered")
    await page.until("document.querySelector('.question[data-state=waiting]')")
    await page.call("addInitScript", {"content": END_BETWEEN_READS})
    await page.call("reload")
    await page.until("document.querySelector('#turns > .notice')?.textContent.startsWith('Part of this conversation')")
    await page.until_jobs("cancelled")
    await page.until("document.querySelector('.question')")
    facts = await page.evaluate("document.querySelector('.facts').firstChild.textContent")
    assert facts.endswith(" 7 tokens in, 5 out")


async def test_markup_in_a_message_is_only_text(stack: Stack, page: Page) -> None:
    markup = "<img src=x onerror=alert(1)>"
    await page.ask(markup, agent="demo")
    await page.until_written(60)
    await page.until(f"{SHOWN}.includes({json.dumps(markup)})")
    assert await page.evaluate("document.querySelectorAll('#turns img').length") == 0


async def test_a_deleted_session_ends_with_a_word_about_it(stack: Stack, page: Page) -> None:
    await page.ask("count", tokens=2)
    await page.until_jobs("completed")
    async with stack.client() as client:
        await client.delete("/v1/sessions/session")
    await page.until("document.querySelector('#turns > .notice')?.textContent === 'This conversation was deleted.'")
    await page.until_shown("#connection", "Session ended")


async def test_a_new_conversation_leaves_the_old_one_at_its_address(stack: Stack, page: Page) -> None:
    await page.ask("count", tokens=2)
    await page.until_jobs("completed")
    await page.call("click", "#new")
    await page.until("!document.getElementById('empty').hidden && location.hash !== '#session'")
    await page.until("!document.querySelector('[data-job]')")
    await page.call("goBack")
    await page.until_jobs("completed")
