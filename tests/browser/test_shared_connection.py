"""Several tabs on one connection, with the JavaScript client in a real browser."""

from __future__ import annotations

import json
import re

import pytest

from tests.browser.conftest import Stack
from tests.support.browser import Page
from tests.support.process import until

pytestmark = [pytest.mark.asyncio(loop_scope="module"), pytest.mark.timeout(240)]

TOKENS = 200
WHOLE = "".join(f"w{number} " for number in range(TOKENS))
FOLLOW = """(async () => {
    const { Client } = await import("/web/client/index.js");
    const { shared } = await import("/web/client/shared.js");
    window.client = new Client("", { connect: shared(%s), ...%s });
    window.session = window.client.session(%s);
    window.ids = [];
    window.leave = window.session.subscribe((state, events) => window.ids.push(...events.map(({ id }) => id)));
})()"""
SEND = "session.send('count', { agent: 'scripted', options: { tokens: %d, interval_ms: 20 } }).then(() => null)"
HIDE = """Object.defineProperty(document, "hidden", { value: %s, configurable: true });
dispatchEvent(new Event("visibilitychange"))"""
ENDED = "window.session.state.messages.at(-1)?.status === 'completed'"
TEXT = "window.session.state.messages.at(-1)?.content"


async def tab(stack: Stack, session: str = "session", how: str = "{}", options: str = "{}") -> Page:
    """A tab that follows a session. /livez is a page of the gateway's origin that loads nothing by itself."""
    page = await stack.context.page(f"{stack.gateway.url}/livez")
    await page.evaluate(FOLLOW % (how, options, json.dumps(session)))
    return page


async def viewers(stack: Stack) -> int:
    async with stack.client() as client:
        [found] = re.findall(r"^holdfast_viewers (\d+)", (await client.get("/metrics")).text, re.MULTILINE)
    return int(found)


async def until_viewers(stack: Stack, count: int) -> None:
    async def held() -> bool:
        return await viewers(stack) == count

    await until(held)


async def assert_all_have_the_answer(pages: list[Page]) -> None:
    for page in pages:
        await page.until(ENDED)
        assert await page.evaluate(TEXT) == WHOLE
        ids = [each for each in await page.evaluate("window.ids") if each]
        assert len(set(ids)) == len(ids)


async def test_eight_tabs_follow_an_answer_over_one_connection(stack: Stack) -> None:
    pages = [await tab(stack) for _ in range(8)]
    for page in pages:
        await page.until("window.session.state.connection === 'live'")
    await until_viewers(stack, 1)
    await pages[0].evaluate(SEND % TOKENS)
    await assert_all_have_the_answer(pages)
    assert await viewers(stack) == 1


async def test_tabs_that_join_in_the_middle_have_the_whole_answer(stack: Stack) -> None:
    pages = [await tab(stack)]
    await pages[0].evaluate(SEND % TOKENS)
    for length in (50, 300, 600):
        await pages[0].until(f"{TEXT}.length > {length}")
        pages.append(await tab(stack))
    await assert_all_have_the_answer(pages)
    assert await viewers(stack) == 1


async def test_tabs_that_leave_and_a_gateway_that_is_replaced_disturb_no_other(stack: Stack) -> None:
    pages = [await tab(stack) for _ in range(4)]
    await pages[1].evaluate(SEND % TOKENS)
    await pages[1].until(f"{TEXT}.length > 50")
    await pages[0].call("close")
    await pages[1].evaluate("window.leave()")
    stack.gateway.kill()
    await stack.restart_gateway()
    await assert_all_have_the_answer(pages[2:])
    for page in pages[2:]:
        await page.evaluate("window.leave()")
    await until_viewers(stack, 0)


async def test_sessions_in_many_hidden_tabs_leave_connections_for_others(stack: Stack) -> None:
    pages = []
    for number in range(8):
        pages.append(await tab(stack, f"session-{number}"))
        await pages[-1].evaluate(HIDE % "true")
    await until_viewers(stack, 4)
    for page in pages:
        await page.evaluate(SEND % TOKENS)
    for page in pages:
        await page.evaluate(HIDE % "false")
        await page.until(ENDED)
        assert await page.evaluate(TEXT) == WHOLE
        await page.evaluate(HIDE % "true")


async def test_a_token_of_a_tab_is_used_and_tabs_of_other_users_do_not_share(stack: Stack) -> None:
    headers = "{ headers: async ({ refresh }) => { (window.asked ??= []).push(refresh); return { 'X-User': 'ada' }; } }"
    named = [await tab(stack, how="{ name: 'ada' }", options=headers) for _ in range(2)]
    await until_viewers(stack, 1)
    nameless = await tab(stack, options=headers)
    other = await tab(stack, how="{ name: 'bob' }", options=headers)
    await until_viewers(stack, 3)
    await other.evaluate(SEND % TOKENS)
    await assert_all_have_the_answer([*named, nameless, other])
    assert await named[0].evaluate("window.asked.includes(false)")


async def test_without_a_shared_worker_each_tab_has_its_own_connection(stack: Stack) -> None:
    broken = "{ worker: () => new SharedWorker('/web/client/missing.js', { type: 'module' }) }"
    pages = [await tab(stack, how=broken), await tab(stack)]
    await pages[0].until("window.session.state.connection === 'live'")
    await until_viewers(stack, 2)
    await pages[0].evaluate(SEND % TOKENS)
    await assert_all_have_the_answer(pages)


async def test_a_refusal_reaches_the_tab_as_an_error(stack: Stack) -> None:
    page = await tab(stack)
    source = """(async () => {
        try { for await (const event of client.events("unknown")) return event; }
        catch (error) { return [error.name, error.status, error.code]; }
    })()"""
    refused = await page.evaluate(source)
    assert refused == ["HoldfastError", 404, "session_unknown"]
