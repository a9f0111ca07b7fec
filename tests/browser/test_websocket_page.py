"""A page in a real browser that reads over a WebSocket, with the example of docs/websocket.md."""

from __future__ import annotations

import json

import pytest

from tests.browser.conftest import Stack
from tests.support.browser import Context
from tests.support.documents import block
from tests.support.process import Processes

pytestmark = pytest.mark.asyncio(loop_scope="module")

EXAMPLE = block("docs/websocket.md", "function connect()")
JOB = '{ agent: "demo", input: "Compare three kinds of tea" }'
URL = "ws://127.0.0.1:8000/v1/sessions/tea-talk/ws?"
OPEN = """
new Promise((resolve) => {
    const socket = new WebSocket(%s + "/v1/sessions/session/ws?wait=true", "holdfast.v1");
    socket.onopen = () => resolve(socket.protocol);
    socket.onclose = ({code}) => resolve(code);
})
"""


def program(url: str, **options: object) -> str:
    """The example on a gateway, as an expression. The page has its socket and the messages that it showed."""
    job = json.dumps({"agent": "scripted", "input": "tea", "options": options})
    assert (EXAMPLE.count(JOB), EXAMPLE.count(URL)) == (1, 1)
    address = f"{url.replace('http', 'ws')}/v1/sessions/session/ws?raw=true&"
    code = EXAMPLE.replace(JOB, job).replace(URL, address)
    shown = "const shown = [], show = (message) => shown.push(message);"
    return f"(() => {{ {shown}\n{code}\nwindow.run = {{ shown, send, socket: () => socket }}; }})()"


async def test_the_example_of_the_documentation_survives_a_cut_a_stop_and_a_drain(stack: Stack) -> None:
    page = await stack.context.page(stack.url)
    await page.evaluate(program(stack.gateway.url, tokens=10_000, interval_ms=20))
    await page.until("run.shown.some(({type}) => type === 'text.delta')")
    await page.evaluate("run.socket().close(4000)")
    await page.until("run.socket() === undefined")
    await page.until("run.socket()?.readyState === 1 && (run.socket().send('STOP'), true)")
    await page.until("run.shown.some(({type}) => type === 'job.cancelled')")
    shown = await page.evaluate("run.shown")
    [job_id] = [message["job_id"] for message in shown if message.get("to") == "job"]
    async with stack.client() as client:
        url = f"/v1/sessions/session/jobs/{job_id}/events?raw=true"
        log = await client.get(url, headers={"Accept": "application/x-ndjson"})
    assert [each["id"] for each in shown if "id" in each] == [
        json.loads(line)["id"] for line in log.text.splitlines() if line
    ]
    await page.evaluate(
        "void run.socket().addEventListener('close', ({code, reason}) => { run.end = [code, reason]; })"
    )
    stack.gateway.terminate()
    await page.until("run.end?.[0] === 1013 && run.end[1].startsWith('retry=')")
    await page.evaluate("run.send({agent: 'scripted', input: 'tea', options: {tokens: 3}})")
    await stack.restart_gateway()
    await page.until("run.shown.some(({type}) => type === 'job.completed')")
    assert await stack.job_count() == 2


async def test_a_page_opens_a_websocket_of_its_own_gateway_or_where_it_is_listed(
    processes: Processes, redis_url: str, context: Context, files_url: str
) -> None:
    gateway = processes.gateway(redis_url, port=None, HOLDFAST_CORS_ORIGINS=files_url)
    await gateway.until_ready()
    opening = OPEN % json.dumps(gateway.url.replace("http", "ws"))
    for origin, outcome in (
        (gateway.url, "holdfast.v1"),
        (files_url, "holdfast.v1"),
        (files_url.replace("127.0.0.1", "localhost"), 1006),
    ):
        page = await context.page(f"{origin}/")
        assert await page.evaluate(opening) == outcome
