"""Pages of another origin than the gateway's, in a real browser: served where they are allowed, and only there."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

from tests.support.browser import Context, Page
from tests.support.process import Gateway, Processes, until

pytestmark = pytest.mark.asyncio(loop_scope="module")

POST = """
fetch(%s + "/v1/sessions/session/jobs", {
    method: "POST",
    headers: {"Content-Type": "application/json", "Idempotency-Key": "once"},
    body: JSON.stringify({agent: "scripted", input: "tea", options: {tokens: 5}}),
}).then(async (answer) => [answer.status, answer.headers.get("location"), await answer.json()],
        (error) => [0, null, String(error)])
"""
READ = """
new Promise((resolve) => {
    const types = [], source = new EventSource(%s);
    source.onmessage = ({ data }) => {
        types.push(JSON.parse(data).type);
        if (types.at(-1) === "job.completed") { source.close(); resolve(types); }
    };
    source.onerror = () => source.readyState === EventSource.CLOSED && resolve("closed");
})
"""
REFUSAL = "fetch(%s + '/v1/sessions/nobody').then(async (answer) => (await answer.json()).code, () => 'unreadable')"


@pytest.fixture(params=["127.0.0.1", "localhost"], ids=["another port", "another site"])
def origin(request: pytest.FixtureRequest, files_url: str) -> str:
    """The origin of a page that a server without a gateway serves."""
    return files_url.replace("127.0.0.1", request.param)


async def start(processes: Processes, redis_url: str, **env: str) -> Gateway:
    processes.worker(redis_url)
    gateway = processes.gateway(redis_url, port=None, **env)
    await gateway.until_ready()
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:

        async def offered() -> bool:
            return "scripted" in (await client.get("/v1/agents")).text

        await until(offered)
    return gateway


async def run(page: Page, script: str, url: str) -> Any:
    return await page.evaluate(script % json.dumps(url))


async def test_an_allowed_page_posts_with_fetch_and_reads_with_an_event_source(
    processes: Processes, redis_url: str, context: Context, origin: str
) -> None:
    gateway = await start(processes, redis_url, HOLDFAST_CORS_ORIGINS=origin)
    page = await context.page(origin + "/")
    status, location, accepted = await run(page, POST, gateway.url)
    assert (status, location) == (202, accepted["events_url"])
    types = await run(page, READ, gateway.url + location)
    assert "job.started" in types
    assert types[-1] == "job.completed"
    assert await run(page, REFUSAL, gateway.url) == "session_unknown"


async def test_a_page_that_is_not_allowed_can_neither_post_nor_read(
    processes: Processes, redis_url: str, context: Context, origin: str
) -> None:
    gateway = await start(processes, redis_url, HOLDFAST_CORS_ORIGINS="https://another.example")
    page = await context.page(origin + "/")
    assert (await run(page, POST, gateway.url))[0] == 0
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        assert (await client.get("/v1/sessions/session")).status_code == 404
        await client.post("/v1/sessions/session/jobs", json={"agent": "scripted", "input": "tea"})
    assert await run(page, READ, f"{gateway.url}/v1/sessions/session/events") == "closed"
    assert await run(page, REFUSAL, gateway.url) == "unreadable"


async def test_a_link_on_another_site_opens_the_page_and_the_page_works(
    processes: Processes, redis_url: str, context: Context, origin: str
) -> None:
    gateway = await start(processes, redis_url)
    page = await context.page(origin + "/")
    target = f"{gateway.url}/#session"
    await page.evaluate(f"void setTimeout(() => location.assign({json.dumps(target)}))")
    await page.call("waitForURL", target)
    await page.until("document.getElementById('agent') && !document.getElementById('agent').disabled")
    await page.ask("tea", tokens=5)
    await page.until_jobs("completed")
