"""`useChat` of the AI SDK in a real browser, on a page of another origin: it resumes wherever it was interrupted."""

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
from tests.support.ai_sdk import shown, shown_of
from tests.support.browser import Context, Page
from tests.support.documents import blocks
from tests.support.fault_proxy import FaultProxy
from tests.support.node import FOLDER, NODE
from tests.support.process import ROOT, Gateway, Process, Processes, until
from tests.support.workers import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOURCE = Path(__file__).parent / "use-chat"
HOOK = ROOT / "clients" / "js" / "src" / "ai-sdk.js"
AGENTS = {"HOLDFAST_AGENTS": "tests.support.dialect_agents", "HOLDFAST_LEASE_SECONDS": "1"}
ANSWER = "(window.chat.messages.find((message) => message.role === 'assistant') ?? {parts: []})"
TEXT = f"{ANSWER}.parts.filter((part) => part.type === 'text').map((part) => part.text).join('')"
WHOLE = {"tokens": 100, "interval_ms": 30, "ask": False}
UNAUTHORIZED = b"HTTP/1.1 401 Unauthorized\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 9\r\n\r\nno ticket"
COMPLETE = f"{ANSWER}.metadata?.status && window.chat.status === 'ready'"


def build(folder: Path, react: str, ai: str) -> None:
    """Bundle the application with the snippets of the documentation and these packages of the AI SDK."""
    shutil.copytree(SOURCE, folder)
    (folder / "snippets.jsx").write_text("\n".join(each.text for each in blocks("docs/dialects/ai-sdk.md")))
    (folder / "transport.js").write_text(f"export {{ DefaultChatTransport }} from '{ai}';\n")
    command = [NODE, "node_modules/esbuild/bin/esbuild", str(folder / "page.jsx"), "--bundle", "--format=esm"]
    defined = ['--define:process.env.NODE_ENV="production"', "--jsx=automatic", "--log-level=error"]
    packages = [f"--alias:@ai-sdk/react={react}", f"--alias:holdfast-client/ai-sdk={HOOK}"]
    environment = {"NODE_PATH": str(FOLDER / "node_modules")}
    subprocess.run(
        [*command, *defined, *packages, f"--outfile={folder / 'page.js'}"],
        cwd=FOLDER,
        env=environment,
        check=True,
        timeout=60,
    )


@pytest.fixture(scope="module")
def page_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The application with `ai` 7, and in `/v6` with `ai` 6, served by a server without a gateway."""
    folder = tmp_path_factory.mktemp("use-chat") / "pages"
    build(folder, "@ai-sdk/react", "ai")
    build(folder / "v6", "@ai-sdk/react-v6", "ai-v6")
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

    async def page(self, kind: str) -> Page:
        api = f"http://127.0.0.1:{self.proxy.port}/ai-sdk/{kind}/travels"
        query = urlencode({"id": "c1", "api": api, **({"workflow": "1"} if kind == "workflow" else {})})
        page = await self.context.page(f"{self.url}/{'v6/' if kind == 'v6' else ''}?{query}")
        await page.until("['ready', 'streaming'].includes(window.chat.status)")  # it may be resuming already
        return page

    async def take_over(self) -> None:
        dead, self.worker = self.worker, self.processes.worker(self.redis_url, **AGENTS)
        dead.kill()

    async def drain(self) -> None:
        """Tell the gateway to stop; the other one serves new connections already."""
        self.proxy.target = int(self.gateways[1].url.rpartition(":")[2])
        self.gateways[0].terminate()
        assert await self.gateways[0].wait() == 0

    async def ends_equal_to_the_log(self, page: Page) -> None:
        await page.until(COMPLETE)
        messages = json.loads(await page.evaluate("JSON.stringify(window.chat.messages)"))
        assert [message["role"] for message in messages] == ["user", "assistant"]
        assert shown(messages[1]) == shown_of(await self.jobs.kept("c1", messages[1]["id"]))

    async def job_ids(self) -> list[str]:
        """The jobs of the chat, newest first."""
        return [job.job_id for job in (await self.jobs.sessions.jobs("c1", None, 10)).jobs]


@pytest_asyncio.fixture(loop_scope="module")
async def application(
    processes: Processes, redis_url: str, page_url: str, context: Context
) -> AsyncIterator[Application]:
    gateways = [processes.gateway(redis_url, HOLDFAST_CORS_ORIGINS=page_url) for _ in range(2)]
    worker = processes.worker(redis_url, **AGENTS)
    for gateway in gateways:
        await gateway.until_ready()
    jobs = Client(redis_url)
    await jobs.offered("travels")
    async with FaultProxy(int(gateways[0].url.rpartition(":")[2])) as proxy:
        yield Application(processes, redis_url, page_url, gateways, worker, proxy, jobs, context)
    await jobs.close()


async def send(page: Page, text: str, **options: Any) -> None:
    await page.evaluate(f"window.chat.send({json.dumps(text)}, {json.dumps({'options': options})})")


async def until_written(page: Page, text: str) -> None:
    await page.until(f"{TEXT}.includes({json.dumps(text)})")
    assert not await page.evaluate(f"Boolean({COMPLETE})"), "the answer was complete before anything happened to it"


async def reload_in_vain(application: Application, page: Page) -> None:
    """Reload a page whose gateway is away, and bring the gateway back after two attempts."""
    await page.call("reload")
    before = application.proxy.connections
    await until(lambda: application.proxy.connections >= before + 2)
    await page.until("window.chat.status === 'error' && window.chat.reconnecting")
    application.proxy.refusing = False


@pytest.mark.parametrize("kind", ["v7", "workflow"])
async def test_a_chat_that_everything_happens_to_ends_equal_to_its_log(application: Application, kind: str) -> None:
    page = await application.page(kind)
    await send(page, "Plan a trip", tokens=250, interval_ms=50)
    await page.until(f"{ANSWER}.parts.some((part) => part.type === 'data-question')")
    await page.evaluate("void window.chat.answer('Monday')")
    await until_written(page, "w3 ")
    application.proxy.cut()
    await until_written(page, "w10 ")
    await application.drain()
    await until_written(page, "w20 ")
    await page.call("reload")
    await until_written(page, "w30 ")
    await application.take_over()
    await application.ends_equal_to_the_log(page)
    job_id = await page.evaluate(f"{ANSWER}.id")
    assert (await application.jobs.job("c1", job_id)).attempt == 2


@pytest.mark.parametrize("kind", ["v6", "v7", "workflow"])
async def test_an_answer_survives_a_gateway_that_is_away(application: Application, kind: str) -> None:
    """Refused reconnects are tried again, and what was received before them is not shown twice."""
    page, proxy = await application.page(kind), application.proxy
    await send(page, "Plan a trip", **WHOLE)
    await until_written(page, "w3 ")
    before, proxy.refusing = proxy.connections, True
    proxy.reset()
    await until(lambda: proxy.connections >= before + 2)
    assert await page.evaluate("window.chat.incomplete")
    proxy.refusing = False
    await application.ends_equal_to_the_log(page)


@pytest.mark.parametrize("kind", ["v6", "v7"])
async def test_an_answer_survives_a_reload_while_the_gateway_is_away(application: Application, kind: str) -> None:
    page, proxy = await application.page(kind), application.proxy
    await send(page, "Plan a trip", **WHOLE)
    await until_written(page, "w3 ")
    proxy.refusing = True
    proxy.reset()
    await reload_in_vain(application, page)
    await application.ends_equal_to_the_log(page)


@pytest.mark.parametrize("fault", ["refusing", "only_heads"])
@pytest.mark.parametrize("kind", ["v6", "v7"])
async def test_a_message_without_a_first_chunk_is_one_job(application: Application, kind: str, fault: str) -> None:
    """`refusing`: it did not reach the gateway. `only_heads`: it did, and its answer was cut in front of the first
    chunk."""
    page, proxy = await application.page(kind), application.proxy
    before = proxy.connections
    setattr(proxy, fault, True)
    proxy.reset()  # also those that are kept alive
    await send(page, "Plan a trip", **WHOLE)
    await page.until("window.chat.status === 'error' && window.chat.unsent")
    await until(lambda: proxy.connections >= before + 2)
    setattr(proxy, fault, False)
    await application.ends_equal_to_the_log(page)
    assert len(await application.job_ids()) == 1


@pytest.mark.parametrize("kind", ["v6", "v7"])
async def test_a_message_without_a_first_chunk_survives_a_reload(application: Application, kind: str) -> None:
    page, proxy = await application.page(kind), application.proxy
    proxy.only_heads = True
    await send(page, "Plan a trip", **WHOLE)
    await page.until("window.chat.status === 'error'")
    proxy.only_heads, proxy.refusing = False, True
    await reload_in_vain(application, page)
    await application.ends_equal_to_the_log(page)
    assert len(await application.job_ids()) == 1


async def test_another_answer_that_is_cut_at_once_is_not_the_replaced_one(application: Application) -> None:
    page, proxy = await application.page("v7"), application.proxy
    await send(page, "Plan a trip", tokens=1, ask=False)
    await application.ends_equal_to_the_log(page)
    proxy.only_heads = True
    await page.evaluate("window.chat.regenerate({options: {tokens: 2, ask: false}})")
    await page.until("window.chat.status === 'error'")
    proxy.only_heads = False
    await application.ends_equal_to_the_log(page)
    newest, replaced = await application.job_ids()
    assert await page.evaluate(f"{ANSWER}.id") == newest != replaced


@pytest.mark.parametrize("kind", ["v6", "v7"])
async def test_a_refused_message_stays_unanswered_until_it_is_sent_again(application: Application, kind: str) -> None:
    page = await application.page(kind)
    await send(page, "One", tokens=1, ask=False)
    await page.until(COMPLETE)
    await page.evaluate("window.chat.send('Two', {timeout_s: 0})")
    await page.until("window.chat.status === 'error'")
    assert await page.evaluate("window.chat.unsent && !window.chat.incomplete && !window.chat.reconnecting")
    await send(page, "", tokens=100, interval_ms=20, ask=False)
    await page.until("window.chat.status === 'ready' && window.chat.messages.at(-1).metadata?.status === 'completed'")
    roles = await page.evaluate("window.chat.messages.map((message) => message.role).join(' ')")
    assert roles == "user assistant user assistant"
    requested = "performance.getEntriesByType('resource').filter((one) => one.name.endsWith('/stream')).length"
    assert await page.evaluate(requested) == 1, "only the page that was opened resumes"


@pytest.mark.parametrize("kind", ["v7"])
async def test_a_resumption_that_is_refused_for_good_is_not_repeated(application: Application, kind: str) -> None:
    page, proxy = await application.page(kind), application.proxy
    await send(page, "Plan a trip", **WHOLE)
    await until_written(page, "w3 ")
    before, proxy.answer = proxy.connections, UNAUTHORIZED
    proxy.reset()
    await page.until("window.chat.error === 'no ticket'")
    assert await page.evaluate("window.chat.incomplete && !window.chat.reconnecting")
    assert proxy.connections == before + 1


async def test_stop_ends_the_answer_in_every_tab(application: Application) -> None:
    page = await application.page("v7")
    await send(page, "Plan a trip", tokens=2000, interval_ms=50, ask=False)
    await until_written(page, "w3 ")
    other = await application.page("v7")
    await other.until(f"{TEXT}.includes('w6 ')")
    await page.evaluate("window.chat.stop()")
    for tab in (page, other):
        await application.ends_equal_to_the_log(tab)
        assert await tab.evaluate(f"{ANSWER}.metadata.status") == "cancelled"
