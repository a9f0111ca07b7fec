"""A network that swallows everything but keeps connections open: noticed in time, and nothing is lost by it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from tests.browser.conftest import Stack
from tests.browser.test_page import assert_shows_the_log
from tests.browser.test_takeover import kill_the_lease_owner, two_workers
from tests.support.browser import Page
from tests.support.fault_proxy import FaultProxy
from tests.support.process import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

TOKENS = 400
WHOLE = "".join(f"w{number} " for number in range(TOKENS))
FOLLOW = """(async () => {
    const { Client } = await import("/web/client/index.js");
    window.states = [];
    window.followed = new Client().session("later");
    window.followed.subscribe(({ connection }) => window.states.push(connection));
    window.answer = () => window.followed.state.messages.at(-1);
})()"""
REMEMBER_WORDS = """void (() => {
    window.said = new Set();
    const look = () => {
        for (const each of document.querySelectorAll("[data-job] :is(.live, .notice)")) {
            if (each.checkVisibility()) window.said.add(each.textContent);
        }
    };
    new MutationObserver(look).observe(document.getElementById("turns"),
        { attributes: true, childList: true, characterData: true, subtree: true });
})()"""


@pytest_asyncio.fixture(loop_scope="module")
async def proxy(stack: Stack) -> AsyncIterator[FaultProxy]:
    """A proxy between browser and gateway."""
    async with FaultProxy(int(stack.gateway.url.rpartition(":")[2])) as proxy:
        yield proxy


@pytest_asyncio.fixture(loop_scope="module")
async def distant(stack: Stack, proxy: FaultProxy) -> Page:
    """A tab that shows the session through the proxy."""
    return await stack.context.page(f"http://127.0.0.1:{proxy.port}/#session")


async def test_a_page_on_a_dead_network_says_so_and_ends_with_the_whole_answer(
    stack: Stack, proxy: FaultProxy, distant: Page
) -> None:
    await distant.ask("count", tokens=TOKENS, interval_ms=20)
    await distant.until_written(200)
    proxy.black_hole = True
    await distant.until("document.getElementById('connection').textContent === 'Disconnected'")
    proxy.black_hole = False
    await assert_shows_the_log(stack, distant)


async def test_a_dead_network_is_told_apart_from_a_silent_worker(
    stack: Stack, proxy: FaultProxy, distant: Page
) -> None:
    await distant.ask("count", tokens=TOKENS, interval_ms=20)
    await distant.until_written(200)
    await distant.evaluate(REMEMBER_WORDS)
    proxy.black_hole = True
    await distant.until("document.getElementById('connection').textContent === 'Reconnecting…'")
    await distant.until("document.querySelector('[data-job] .notice[role=status]').checkVisibility()")
    assert not await distant.evaluate("document.querySelector('.live').checkVisibility()")
    proxy.black_hole = False
    await distant.until("document.getElementById('connection').textContent === 'Connected'")
    await assert_shows_the_log(stack, distant)
    said = await distant.evaluate("[...window.said]")
    assert "No signal for 3 s" in said
    assert not [words for words in said if words.startswith("The worker is silent")]


async def test_a_stream_opened_before_the_first_post_survives_silence_and_two_dead_workers(
    stack: Stack, proxy: FaultProxy, distant: Page
) -> None:
    workers = await two_workers(stack)
    workers.append(stack.processes.worker(stack.redis_url, HOLDFAST_LEASE_SECONDS="1"))
    await distant.evaluate(FOLLOW)
    await distant.until("window.states.includes('live')")
    job = {"agent": "scripted", "input": "count", "options": {"tokens": TOKENS, "interval_ms": 20}}
    async with stack.client() as client:
        job_id = (await client.post("/v1/sessions/later/jobs", json=job)).json()["job_id"]
        text = "window.answer()?.content"
        await distant.until(f"{text}?.length > 200")
        proxy.black_hole = True
        for attempt in (2, 3):
            await kill_the_lease_owner(stack, workers, job_id, "later")

            async def taken_over(attempt: int = attempt) -> bool:
                return bool((await client.get(f"/v1/sessions/later/jobs/{job_id}")).json()["attempt"] == attempt)

            await until(taken_over)
    await distant.until("window.states.at(-1) === 'lost'")
    proxy.black_hole = False
    await distant.until("window.answer()?.status === 'completed'")
    assert await distant.evaluate(text) == WHOLE
