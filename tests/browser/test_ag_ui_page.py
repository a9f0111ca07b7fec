"""TanStack AI's `useChat`, CopilotKit's core and `HttpAgent` in a real browser, on a page of another origin."""

from __future__ import annotations

import functools
import json
import shutil
import subprocess
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from tests.browser.conftest import QuietHandler
from tests.support.ag_ui import shown, shown_of
from tests.support.browser import Context, Page
from tests.support.fault_proxy import FaultProxy
from tests.support.node import FOLDER, NODE
from tests.support.process import Gateway, Process, Processes
from tests.support.workers import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")

KINDS = ["tanstack", "copilotkit", "http"]
SOURCE = Path(__file__).parent / "ag-ui"
AGENTS = {"HOLDFAST_AGENTS": "tests.support.dialect_agents", "HOLDFAST_LEASE_SECONDS": "1"}
TEXT = (
    "(window.chat?.messages ?? []).flatMap(({parts, content}) => parts ? parts.map((part) => part.content ?? '')"
    " : [content ?? '']).join('')"
)
COMPLETE = "window.chat && !window.chat.isLoading && window.chat.messages.length > 1"


@pytest.fixture(scope="module")
def page_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application, built and served by a server without a gateway."""
    folder = tmp_path_factory.mktemp("ag-ui")
    shutil.copy(SOURCE / "index.html", folder)
    built = SOURCE / "page.jsx"
    command = [NODE, "node_modules/esbuild/bin/esbuild", str(built), "--bundle", "--format=esm", "--jsx=automatic"]
    defined = ['--define:process.env.NODE_ENV="production"', f"--outfile={folder / 'page.js'}", "--log-level=error"]
    environment = {"NODE_PATH": str(FOLDER / "node_modules")}
    subprocess.run([*command, *defined], cwd=FOLDER, env=environment, check=True, timeout=60)
    handler = functools.partial(QuietHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@dataclass
class Application:
    """The page, two gateways behind one address, and a worker."""

    processes: Processes
    redis_url: str
    url: str
    gateways: list[Gateway]
    worker: Process
    proxy: FaultProxy
    jobs: Client
    context: Context

    async def page(self, kind: str, **options: Any) -> Page:
        gateway = f"http://127.0.0.1:{self.proxy.port}"
        query = urlencode({"kind": kind, "url": gateway, "agent": "travels", "thread": kind})
        page = await self.context.page(f"{self.url}/?{query}")
        await page.evaluate(f"localStorage.setItem('options', {json.dumps(json.dumps(options))})")
        await page.call("reload")
        await page.until("window.chat.send && (window.chat.messages.length || !window.chat.isLoading)")
        return page

    async def take_over(self) -> None:
        """Kill the worker. The next one writes faster, so that an answer is long before and short afterwards."""
        dead, self.worker = self.worker, self.processes.worker(self.redis_url, **AGENTS, TRAVELS_INTERVAL_MS="3")
        dead.kill()

    async def drain(self) -> None:
        """Tell the gateway to stop; the other one serves new connections already."""
        self.proxy.target = int(self.gateways[1].url.rpartition(":")[2])
        self.gateways[0].terminate()
        assert await self.gateways[0].wait() == 0


@pytest_asyncio.fixture(loop_scope="module")
async def application(
    processes: Processes, redis_url: str, page_url: str, context: Context
) -> AsyncIterator[Application]:
    gateways = [processes.gateway(redis_url, HOLDFAST_CORS_ORIGINS=page_url) for _ in range(2)]
    worker = processes.worker(redis_url, **AGENTS, TRAVELS_INTERVAL_MS="40")
    for gateway in gateways:
        await gateway.until_ready()
    jobs = Client(redis_url)
    await jobs.offered("travels")
    async with FaultProxy(int(gateways[0].url.rpartition(":")[2])) as proxy:
        yield Application(processes, redis_url, page_url, gateways, worker, proxy, jobs, context)
    await jobs.close()


async def until_written(page: Page, text: str) -> None:
    await page.until(f"{TEXT}.includes({json.dumps(text)})")
    assert not await page.evaluate(f"Boolean({COMPLETE})"), "the answer was complete before anything happened to it"


@pytest.mark.parametrize("kind", KINDS)
async def test_a_chat_that_everything_happens_to_ends_equal_to_its_log(application: Application, kind: str) -> None:
    page = await application.page(kind, tokens=400)
    await page.evaluate("void window.chat.send('Plan a trip')")
    await page.until("window.chat.interrupts.length && !window.chat.isLoading")
    await page.evaluate("void window.chat.answer('Monday')")
    await until_written(page, "w3 ")
    application.proxy.cut()
    await until_written(page, "w10 ")
    await application.drain()
    await until_written(page, "w20 ")
    await page.call("reload")
    await until_written(page, "w26 ")
    await application.take_over()
    await page.until(f"{COMPLETE} && {TEXT}.includes('w399 ')")
    messages = json.loads(await page.evaluate("JSON.stringify(window.chat.messages)"))
    [job] = (await application.jobs.sessions.jobs(kind, None, 10)).jobs
    assert job.attempt == 2
    assert [message["role"] for message in messages].count("user") == 1
    assert shown({"messages": messages}) == shown_of(await application.jobs.kept(kind, job.job_id))


async def test_stop_ends_the_job_in_the_middle(application: Application) -> None:
    for kind in KINDS:
        page = await application.page(kind, tokens=2000, ask=False)
        await page.evaluate("void window.chat.send('Plan a trip')")
        await until_written(page, "w3 ")
        await page.evaluate("void window.chat.stop()")
        [job] = (await application.jobs.sessions.jobs(kind, None, 10)).jobs
        assert (await application.jobs.end(kind, job.job_id))["type"] == "job.cancelled"
        await page.until("!window.chat.isLoading")


async def test_tanstack_gives_up_in_front_of_the_first_event_and_a_reload_shows_the_run(
    application: Application,
) -> None:
    page, proxy = await application.page("tanstack", tokens=100, ask=False), application.proxy
    proxy.only_heads = True
    await page.evaluate("void window.chat.send('Plan a trip').catch(() => {})")
    await page.until("window.chat.error && !window.chat.isLoading")
    assert await page.evaluate("window.chat.error") == "Stream response body read failed"
    await page.call("reload")
    asked = "performance.getEntriesByType('resource').some(({ name }) => name.includes('threadId='))"
    await page.until(f"{asked} && window.chat.status === 'ready' && !window.chat.isLoading")
    assert await page.evaluate("[window.chat.messages.length, window.chat.error]") == [0, None]
    proxy.only_heads = False
    await page.call("reload")
    await page.until(f"{COMPLETE} && {TEXT}.includes('w99 ')")
