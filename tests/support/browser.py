"""A real browser for tests: playwright-core on Node does the work, this speaks to it a JSON line at a time."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import itertools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.support.node import NODE, chromium
from tests.support.process import inherited_env, until

DRIVER = Path(__file__).resolve().parents[1] / "browser" / "driver.mjs"
ARGS = ["--disable-gpu", "--disable-quic", "--disable-component-update", "--disable-sync"]
ANSWER_SECONDS = 60
SHOWN_SECONDS = 60  # a machine with one core for gateway, worker, Redis and browser draws late
MAX_LINE_BYTES = 1 << 26
# An expression that reads a node which is not there yet does not hold yet.
_LOOK = """(() => {
    let held = false;
    try { held = Boolean(%s); } catch (error) { held = String(error); }
    return [held, (document.body?.innerText ?? "") + (held === true || held === false ? "" : `\\n${held}`)];
})()"""


class BrowserDied(AssertionError):
    """The browser or its driver ended by itself."""

    def __init__(self) -> None:
        super().__init__("the browser has died")


class Browser:
    """A running Chromium. `problems`: what pages have thrown, or tried against their Content-Security-Policy."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ids = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}
        self._ended = False
        self.problems: list[str] = []

    @property
    def alive(self) -> bool:
        """Whether calls can still be answered: a Chromium that crashes takes its driver with it."""
        return self._process.returncode is None and not self._ended

    async def call(self, name: str, method: str, *args: Any) -> Any:
        """Call a method of playwright's on an object by its name. Fails with what playwright says."""
        if not self.alive:
            raise BrowserDied
        number = next(self._ids)
        answer = self._waiting[number] = asyncio.get_running_loop().create_future()
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([number, name, method, args]).encode() + b"\n")
        return await asyncio.wait_for(answer, ANSWER_SECONDS)

    async def listen(self) -> None:
        """Take the driver's lines until it ends; calls that are still open then fail."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self._take(*json.loads(line))
        self._ended = True
        for answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(BrowserDied())
        self._waiting.clear()

    def _take(self, number: int, error: str | None, value: Any) -> None:
        if number == 0:
            self.problems += [error] if error else []
            return
        answer = self._waiting.pop(number, None)
        if answer is None or answer.done():  # its test gave up waiting
            return
        if error:
            answer.set_exception(AssertionError(error))
        else:
            answer.set_result(value)

    async def context(self, **options: Any) -> Context:
        """A profile of its own: what one person's browser remembers. Options are playwright's, as `colorScheme`."""
        return Context(self, await self.call("browser", "newContext", options))


class Context:
    def __init__(self, browser: Browser, name: str) -> None:
        self.browser = browser
        self.name = name

    async def page(self, url: str) -> Page:
        """Open a tab."""
        page = Page(self.browser, await self.browser.call(self.name, "newPage"))
        await page.call("goto", url)
        return page

    async def devtools(self, page: Page) -> Callable[..., Awaitable[Any]]:
        """Chromium's own commands for a tab: `await send("Input.dispatchTouchEvent", {…})`."""
        session = await self.browser.call(self.name, "newCDPSession", page.name)
        return functools.partial(self.browser.call, session, "send")

    async def close(self) -> None:
        """Close its tabs."""
        await self.browser.call(self.name, "close")


class Page:
    """A tab that shows Holdfast's page."""

    def __init__(self, browser: Browser, name: str) -> None:
        self._browser = browser
        self.name = name

    async def call(self, method: str, *args: Any) -> Any:
        return await self._browser.call(self.name, method, *args)

    async def evaluate(self, expression: str) -> Any:
        """The value of a JavaScript expression; a promise is waited for."""
        return await self.call("evaluate", expression)

    async def until(self, expression: str) -> None:
        """Wait until a JavaScript expression is truthy. Fails with what stands on the page."""
        shown = ""

        async def holds() -> bool:
            nonlocal shown
            held, shown = await self.evaluate(_LOOK % expression)
            return held is True

        await until(holds, SHOWN_SECONDS, lambda: f"{expression}\nThe page shows:\n{shown}")

    async def press(self, key: str) -> None:
        await self.call("keyboard.press", key)

    async def type(self, text: str) -> None:
        await self.call("keyboard.type", text)

    async def shown(self, selector: str) -> str:
        """The text of the first element that matches, once there is one."""
        found = f"document.querySelector({json.dumps(selector)})"
        await self.until(found)
        return str(await self.evaluate(f"{found}?.textContent"))

    async def until_shown(self, selector: str, text: str) -> None:
        """Wait until the first element that matches has this text."""
        await self.until(f"document.querySelector({json.dumps(selector)})?.textContent === {json.dumps(text)}")

    async def ask(self, text: str, agent: str = "scripted", **options: Any) -> None:
        """Write a message for the agent, with options, and send it."""
        await self.until("!document.getElementById('agent').disabled")
        await self.call("selectOption", "#agent", agent)
        await self.call("click", "#options-toggle")
        await self.call("fill", "#options", json.dumps(options) if options else "")
        await self.call("click", "#options-toggle")
        await self.call("fill", "#input", text)
        await self.call("press", "#input", "Enter")

    async def job_ids(self) -> list[str]:
        """The jobs that the page shows, in their order."""
        ids: list[str] = await self.evaluate("[...document.querySelectorAll('[data-job]')].map(job => job.dataset.job)")
        return ids

    async def until_jobs(self, status: str, count: int = 1) -> None:
        await self.until(f"document.querySelectorAll('[data-job][data-status={status}]').length === {count}")

    async def until_written(self, characters: int) -> None:
        """Wait until the last answer is longer than this."""
        await self.until(
            "document.querySelectorAll('[data-job]').length && window.holdfast.text("
            f"[...document.querySelectorAll('[data-job]')].at(-1).dataset.job).length > {characters}"
        )

    async def until_text(self, job_id: str, text: str) -> None:
        """Wait until the page has this text of a job. A job that ends while its record is read has its state first."""
        await self.until(f"window.holdfast.text({json.dumps(job_id)}) === {json.dumps(text)}")

    async def text(self, job_id: str) -> str:
        """What the page took in of a job's text."""
        return str(await self.evaluate(f"window.holdfast.text({json.dumps(job_id)})"))

    async def accepted(self) -> list[str]:
        """The ids of the events that the page took in since it was loaded."""
        ids: list[str] = await self.evaluate("window.holdfast.accepted")
        return ids


@contextlib.asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """A browser until the block ends."""
    launch = chromium()
    launch = launch | {"args": [*launch["args"], *ARGS], "env": inherited_env() | launch["env"]}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        NODE, str(DRIVER), json.dumps(launch), stdin=pipe, stdout=pipe, limit=MAX_LINE_BYTES
    )
    running = Browser(process)
    listening = asyncio.create_task(running.listen())
    try:
        yield running
    finally:
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), ANSWER_SECONDS)
        await listening


class Browsers:
    """One browser for many tests, started again after it has died, so that a crash fails one test only."""

    def __init__(self) -> None:
        self._stack = contextlib.AsyncExitStack()
        self._running: Browser | None = None

    async def running(self) -> Browser:
        """The browser that runs, or a new one."""
        if self._running is None or not self._running.alive:
            self._running = await self._stack.enter_async_context(browser())
        return self._running

    async def close(self) -> None:
        await self._stack.aclose()
