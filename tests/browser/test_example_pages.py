"""The front ends of examples/web in a real browser, each with an agent that writes, reasons, calls tools and asks."""

from __future__ import annotations

import asyncio
import functools
import json
import re
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator
from dataclasses import dataclass
from http.server import ThreadingHTTPServer
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from tests.browser.conftest import QuietHandler
from tests.support.browser import Context, Page
from tests.support.fault_proxy import FaultProxy
from tests.support.node import NODE
from tests.support.ports import free_port
from tests.support.process import ROOT, Gateway, Process, Processes
from tests.support.workers import Client

pytestmark = pytest.mark.asyncio(loop_scope="module")

PAGES = ["plain", "react", "ai-sdk", "copilotkit"]
SOURCE = ROOT / "examples" / "web"
AGENTS = {"HOLDFAST_AGENTS": "tests.support.dialect_agents", "HOLDFAST_LEASE_SECONDS": "1"}


@dataclass(frozen=True)
class Chat:
    """A page as a person uses it. The selectors are those of the examples, or of CopilotKit's chat."""

    page: Page
    kind: str

    async def send(self, text: str) -> None:
        field = self._selector("input", "textarea")
        shown = f"document.querySelector({json.dumps(field)})?.disabled === false"
        await self.page.until(f"document.readyState === 'complete' && {shown}")
        await self.page.call("fill", field, text)
        await self.page.call("press", field, "Enter")

    async def answer(self, text: str) -> None:
        """Answer the question, once the page shows it."""
        asked = "document.body.innerText + (document.querySelector('input')?.placeholder ?? '')"
        await self.page.until(f"({asked}).includes('Which day?')")
        field = "input[name=text]"
        await self.page.call("fill", field, text)
        await self.page.call("press", field, "Enter")

    async def stop(self) -> None:
        await self.page.call("click", self._selector("#stop", "[data-testid=copilot-send-button]"))

    async def until_written(self, text: str) -> None:
        await self.page.until(f"{self._text}.includes({json.dumps(text)})")

    async def until_shows(self, text: str) -> None:
        """Wait until the answer is this text, but for white space: CopilotKit shows it as Markdown."""
        await self.page.until(f"{self._text}.replace(/\\s+/g, ' ').trim() === {json.dumps(' '.join(text.split()))}")

    @property
    def _text(self) -> str:
        """The text of the answer, without reasoning and tools."""
        parts = self._selector("#messages .assistant", "[data-testid=copilot-assistant-message] [class~='cpk:prose']")
        nodes = f"[...document.querySelectorAll({json.dumps(parts)})]"
        if self.kind != "copilotkit":
            nodes += ".flatMap((answer) => [...answer.childNodes]).filter((node) => node.nodeType === Node.TEXT_NODE)"
        return nodes + ".map((node) => node.textContent).join('')"

    def _selector(self, own: str, copilotkit: str) -> str:
        return copilotkit if self.kind == "copilotkit" else own


@dataclass
class Application:
    """The pages, two gateways behind one address, and a worker."""

    processes: Processes
    redis_url: str
    url: str
    gateways: list[Gateway]
    worker: Process
    proxy: FaultProxy
    jobs: Client
    context: Context

    async def open(self) -> list[Chat]:
        """Open every page, each in its own session."""
        given = {"gateway": f"http://127.0.0.1:{self.proxy.port}", "agent": "travels"}
        urls = {kind: f"{self.url}/{kind}.html?{urlencode(given | {'session': kind})}" for kind in PAGES}
        chats = [Chat(await self.context.page(url), kind) for kind, url in urls.items()]
        # AG-UI's client rejects a second promise of a run that was cut, which a page cannot handle.
        await chats[-1].page.evaluate("addEventListener('unhandledrejection', (event) => event.preventDefault())")
        return chats

    async def drain(self) -> None:
        """Tell the gateway to stop; the other one serves new connections already."""
        self.proxy.target = int(self.gateways[1].url.rpartition(":")[2])
        self.gateways[0].terminate()
        assert await self.gateways[0].wait() == 0

    async def take_over(self) -> None:
        """Kill the worker. The next one writes faster, so that an answer is long before and short afterwards."""
        dead, self.worker = self.worker, self.processes.worker(self.redis_url, **AGENTS, TRAVELS_INTERVAL_MS="3")
        dead.kill()

    async def job_id(self, chat: Chat) -> str:
        """The only job of a page."""
        [job] = (await self.jobs.sessions.jobs(chat.kind, None, 10)).jobs
        return job.job_id

    async def ends_equal_to_the_log(self, chat: Chat) -> None:
        job_id = await self.job_id(chat)
        assert (await self.jobs.end(chat.kind, job_id))["type"] == "job.completed"
        kept = await self.jobs.kept(chat.kind, job_id)
        await chat.until_shows("".join(event["text"] for event in kept if event["type"] == "text.delta"))


@pytest.fixture(scope="module")
def pages_url() -> Iterator[str]:
    """The pages, built and served by a server without a gateway."""
    subprocess.run([NODE, str(SOURCE / "build.mjs")], check=True, timeout=60)
    handler = functools.partial(QuietHandler, directory=str(SOURCE))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest_asyncio.fixture(loop_scope="module")
async def application(
    processes: Processes, redis_url: str, pages_url: str, context: Context
) -> AsyncIterator[Application]:
    gateways = [processes.gateway(redis_url, HOLDFAST_CORS_ORIGINS=pages_url) for _ in range(2)]
    worker = processes.worker(redis_url, **AGENTS, TRAVELS_INTERVAL_MS="60")
    for gateway in gateways:
        await gateway.until_ready()
    jobs = Client(redis_url)
    await jobs.offered("travels")
    async with FaultProxy(int(gateways[0].url.rpartition(":")[2])) as proxy:
        yield Application(processes, redis_url, pages_url, gateways, worker, proxy, jobs, context)
    await jobs.close()


async def each(steps: Iterable[Awaitable[object]]) -> None:
    """Take a step on all pages at once. The first that fails ends the others."""
    async with asyncio.TaskGroup() as group:
        for step in steps:
            group.create_task(asyncio.wait_for(step, 120))


async def test_pages_that_everything_happens_to_end_equal_to_the_log(application: Application) -> None:
    chats = await application.open()
    await each(chat.send('{"tokens": 700}') for chat in chats)
    await each(chat.answer("Monday") for chat in chats)
    await each(chat.until_written("w3 ") for chat in chats)
    application.proxy.cut()
    await each(chat.until_written("w15 ") for chat in chats)
    await application.drain()
    await each(chat.until_written("w30 ") for chat in chats)
    await each(chat.page.call("reload") for chat in chats)
    await each(chat.until_written("w45 ") for chat in chats)
    await application.take_over()
    await each(application.ends_equal_to_the_log(chat) for chat in chats)
    for chat in chats:
        assert (await application.jobs.job(chat.kind, await application.job_id(chat))).attempt == 2


async def test_stop_ends_the_job_after_a_refresh_in_the_middle(application: Application) -> None:
    chats = await application.open()
    await each(chat.send('{"tokens": 2000, "ask": false}') for chat in chats)
    await each(chat.until_written("w3 ") for chat in chats)
    await each(chat.page.call("reload") for chat in chats)
    await each(chat.until_written("w9 ") for chat in chats)
    await each(chat.stop() for chat in chats)
    for chat in chats:
        end = await application.jobs.end(chat.kind, await application.job_id(chat))
        assert end["type"] == "job.cancelled", chat.kind


SCHEMA = {
    "type": "object",
    "properties": {
        "day": {"type": "string", "title": "Day"},
        "seats": {"type": "integer"},
        "class": {"enum": ["first", "second"]},
        "window": {"type": "boolean"},
    },
}
TOOLS = "[...document.querySelectorAll('#messages code')].map((code) => code.textContent)"


async def fill_in(chat: Chat) -> None:
    page = chat.page
    await page.until("[...document.querySelectorAll('label')].some((label) => label.textContent === 'Which day?')")
    assert await page.evaluate("document.querySelector('label:has([name=day])').textContent") == "Day"
    await page.call("fill", "[name=day]", "Monday")
    await page.call("fill", "[name=seats]", "2")
    await page.call("selectOption", "[name=class]", "second")
    await page.call("press", "[name=seats]", "Enter")


async def test_a_question_for_an_object_is_a_form_with_labels(application: Application) -> None:
    chats = await application.open()
    await each(chat.send(json.dumps({"tokens": 3, "schema": SCHEMA})) for chat in chats)
    await each(fill_in(chat) for chat in chats)
    answer = {"day": "Monday", "seats": 2, "class": "second", "window": False}
    await each(chat.until_written(f"On {answer}: w0 w1 w2") for chat in chats)
    for chat in chats[:3]:
        assert await chat.page.evaluate(TOOLS) == ["flights", "weather"], chat.kind


@pytest.mark.parametrize("kind", ["plain", "react"])
async def test_a_message_that_cannot_be_sent_stays_in_its_field(context: Context, pages_url: str, kind: str) -> None:
    query = urlencode({"gateway": f"http://127.0.0.1:{free_port()}", "agent": "travels"})
    chat = Chat(await context.page(f"{pages_url}/{kind}.html?{query}"), kind)
    await chat.send("hello")
    await chat.page.until("document.getElementById('problem').textContent.includes('Trying again')")
    assert await chat.page.evaluate("document.querySelector('[name=text]').value") == "hello"


async def test_one_command_serves_the_pages_with_holdfast_behind_them(
    processes: Processes, redis_url: str, context: Context
) -> None:
    ports = {"HOLDFAST_PORT": str(free_port()), "PAGES_PORT": str(free_port())}
    command = processes.start([str(SOURCE / "run")], HOLDFAST_REDIS_URL=redis_url, **ports)
    try:
        await command.until_output(f"Holdfast is at http://127.0.0.1:{ports['HOLDFAST_PORT']}", 120)
        [address] = re.findall(r"The pages are at (\S+)", command.output())
        page = await context.page(address)
        await page.call("click", "text=without a build step")
        chat = Chat(page, "plain")
        await chat.send("What is a holdfast?")
        await chat.until_written("You asked: “What is a holdfast?”")
    finally:
        command.interrupt()  # it ends Holdfast, which a SIGKILL would leave alone
        assert await command.wait() == 0
