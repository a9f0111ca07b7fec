"""Fixtures of the tests that look at the page in a browser."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest

from tests.support.browser import Browser, Context, Page, browser
from tests.support.ports import free_port
from tests.support.process import Gateway, Process, Processes


@dataclass
class Stack:
    """A gateway, a worker and a browser with one profile. `gateway` may be killed and started again."""

    redis_url: str
    processes: Processes
    gateway: Gateway
    worker: Process
    browser: Browser
    context: Context

    @property
    def url(self) -> str:
        return f"{self.gateway.url}/#session"

    async def page(self) -> Page:
        """A tab that shows the session."""
        return await self.context.page(self.url)

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


@pytest.fixture
async def stack(redis_url: str, processes: Processes) -> AsyncIterator[Stack]:
    gateway = processes.gateway(redis_url, port=free_port())
    worker = processes.worker(redis_url)
    async with browser() as running:
        await gateway.until_ready()
        yield Stack(redis_url, processes, gateway, worker, running, await running.context())


@pytest.fixture
async def page(stack: Stack) -> Page:
    """A tab that shows the session, once an agent is on offer."""
    page = await stack.page()
    await page.until("!document.getElementById('agent').disabled")
    return page
