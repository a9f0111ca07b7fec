"""One job on the page: cut, drained, refreshed and taken over, with reasoning, two tools and a question."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.support.browser import Context, Page
from tests.support.fault_proxy import FaultProxy, port_of
from tests.support.gated import THOUGHTS, Gate, told
from tests.support.process import Gateway, Process, Processes
from tests.support.workers import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")

AGENTS = {"HOLDFAST_AGENTS": "tests.support.gated", "HOLDFAST_LEASE_SECONDS": "1"}
LAST = "document.querySelector('[data-job]')"


@dataclass
class Deployment:
    """Two gateways behind one address, and a worker."""

    processes: Processes
    redis_url: str
    gateways: list[Gateway]
    worker: Process
    proxy: FaultProxy
    gate: Gate

    async def drain(self) -> None:
        """Tell the gateway to stop; the other one serves new connections already."""
        self.proxy.target = port_of(self.gateways[1].url)
        self.gateways[0].terminate()
        assert await self.gateways[0].wait() == 0

    def take_over(self) -> None:
        dead, self.worker = self.worker, self.processes.worker(self.redis_url, **AGENTS)
        dead.kill()


@pytest_asyncio.fixture(loop_scope="module")
async def deployment(processes: Processes, redis_url: str, tmp_path: Path) -> AsyncIterator[Deployment]:
    gateways = [processes.gateway(redis_url) for _ in range(2)]
    worker = processes.worker(redis_url, **AGENTS)
    for gateway in gateways:
        await gateway.until_ready()
    async with FaultProxy(port_of(gateways[0].url)) as proxy:
        yield Deployment(processes, redis_url, gateways, worker, proxy, Gate(tmp_path / "gate"))


@pytest_asyncio.fixture(loop_scope="module")
async def page(deployment: Deployment, context: Context) -> Page:
    """The page with a job that writes once its gate opens."""
    page = await context.page(f"http://127.0.0.1:{deployment.proxy.port}/#session")
    await page.ask(str(deployment.gate.path), agent="gated")
    await page.until("document.querySelector('.question[data-state=waiting] form:not([hidden])')")
    await page.call("fill", ".question[data-state=waiting] form textarea", "Faro")
    await page.call("click", ".question[data-state=waiting] .send")
    return page


async def shows(page: Page, text: str) -> None:
    await page.until(f"window.holdfast.text({LAST}.dataset.job).includes('{text}')")


async def test_a_job_that_everything_happens_to_ends_equal_to_the_log(deployment: Deployment, page: Page) -> None:
    deployment.gate.open(10)
    await shows(page, " 9 ")
    deployment.proxy.cut()
    deployment.gate.open(20)
    await shows(page, " 19 ")
    await deployment.drain()
    deployment.gate.open(30)
    await shows(page, " 29 ")
    await page.call("reload")
    deployment.gate.open(40)
    await shows(page, " 39 ")
    deployment.take_over()
    [job_id] = await page.job_ids()
    jobs = Client(deployment.redis_url)
    await jobs.until("session", job_id, lambda job: job.attempt == 2)
    assert await page.evaluate(f"{LAST}.dataset.status") != "completed"
    deployment.gate.open()
    await page.until_jobs("completed")
    await jobs.close()
    await page.until_text(job_id, told())
    await page.until("document.querySelectorAll('.tool[data-state=done]').length === 2")
    await page.until("document.querySelectorAll('.question[data-state=answered]').length === 1")
    await page.until(f"document.body.textContent.includes('{THOUGHTS.strip()}')")
    await page.until(f"document.body.textContent.split('{THOUGHTS.strip()}').length === 2")
