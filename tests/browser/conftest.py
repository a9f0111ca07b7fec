"""Fixtures of the tests that look at the page in a browser."""

from __future__ import annotations

import functools
import json
import threading
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import httpx2
import pytest
import pytest_asyncio

from tests.support.browser import Browsers, Context, Page
from tests.support.ports import free_port
from tests.support.process import ROOT, Gateway, Process, Processes, until


@dataclass
class Stack:
    """A gateway, a worker and a browser with one profile. `gateway` may be killed and started again."""

    redis_url: str
    processes: Processes
    gateway: Gateway
    worker: Process
    context: Context

    @property
    def url(self) -> str:
        return f"{self.gateway.url}/#session"

    async def page(self) -> Page:
        """A tab that shows the session."""
        return await self.context.page(self.url)

    async def offer(self, modules: str, agent: str, **env: str) -> None:
        """Have another worker offer the agents of these modules in place of the first one."""
        self.worker.kill()
        bound = {"HOLDFAST_AGENTS": modules, "HOLDFAST_LEASE_SECONDS": "1"} | env
        self.worker = self.processes.worker(self.redis_url, **bound)

        async def offered() -> bool:
            async with self.client() as client:
                agents = (await client.get("/v1/agents")).json()["agents"]
            return agent in [each["name"] for each in agents]

        await until(offered, describe=self.worker.describe)

    async def restart_gateway(self) -> None:
        """Another gateway at the same address."""
        port = int(self.gateway.url.rpartition(":")[2])
        self.gateway = self.processes.gateway(self.redis_url, port=port)
        await self.gateway.until_ready()

    async def logged_text(self, job_id: str) -> str:
        """A job's text as its log has it, read past the page. Waits for the job's end."""
        url = f"/v1/sessions/session/jobs/{job_id}/events?raw=true"
        async with self.client() as client:
            answer = await client.get(url, headers={"Accept": "application/x-ndjson"}, timeout=60)
        events = [json.loads(line) for line in answer.text.split("\n") if line]
        begun = max(at for at, event in enumerate(events) if event["type"] == "job.started")
        return "".join(event["text"] for event in events[begun:] if event["type"] == "text.delta")

    async def job_count(self) -> int:
        async with self.client() as client:
            return len((await client.get("/v1/sessions/session/jobs")).json()["jobs"])

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.gateway.url, trust_env=False)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browsers() -> AsyncIterator[Browsers]:
    started = Browsers()
    yield started
    await started.close()


@pytest_asyncio.fixture(loop_scope="module")
async def context(browsers: Browsers) -> AsyncIterator[Context]:
    """A profile without memories. Fails at the end when a page threw anything."""
    chromium = await browsers.running()
    context = await chromium.context()
    yield context
    if chromium.alive:
        await context.close()
    problems, chromium.problems = chromium.problems, []
    assert not problems


@pytest_asyncio.fixture(loop_scope="module")
async def stack(redis_url: str, processes: Processes, context: Context) -> Stack:
    gateway = processes.gateway(redis_url, port=free_port())
    worker = processes.worker(redis_url)
    await gateway.until_ready()
    return Stack(redis_url, processes, gateway, worker, context)


@pytest_asyncio.fixture(loop_scope="module")
async def page(stack: Stack) -> Page:
    """A tab that shows the session, once an agent is on offer."""
    page = await stack.page()
    await page.until("!document.getElementById('agent').disabled")
    return page


class QuietHandler(SimpleHTTPRequestHandler):
    extensions_map = {".js": "text/javascript", "": "text/plain"}  # noqa: RUF012 - as the base class has it

    def translate_path(self, path: str) -> str:
        """The file at a path: the client's files stand elsewhere than those of the page."""
        found = super().translate_path(path)
        return found.replace(str(ROOT / "gateway" / "web" / "client"), str(ROOT / "clients" / "js" / "src"))

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture(scope="module")
def files_url() -> Iterator[str]:
    """The page's files without anything behind them: `web/page.js` and its like."""
    handler = functools.partial(QuietHandler, directory=str(ROOT / "gateway"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest_asyncio.fixture(loop_scope="module")
async def blank(files_url: str, context: Context) -> Page:
    """A tab that shows a list of files, and can import the page's modules."""
    return await context.page(f"{files_url}/")
