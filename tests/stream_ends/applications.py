"""Drains a gateway under the real clients while another one takes over."""

from __future__ import annotations

import asyncio
import functools
import itertools
from collections.abc import Awaitable, Callable

from tests.stream_ends.agents import WORDS
from tests.stream_ends.clients import BROWSER_CLIENTS, NODE_CLIENTS, Outcome, Saw, in_browser
from tests.stream_ends.dialects import words
from tests.stream_ends.stage import Stage
from tests.stream_ends.wire import Seen
from tests.support.browser import Browser, browser
from tests.support.process import until

EVENT = "application"
ENOUGH_SECONDS = 90
_numbers = itertools.count()


async def drained(stage: Stage, seen: Seen, proxied: bool) -> None:
    """Replace the gateway of all clients at once. Those in Node and Python have HTTP/1.1 only."""
    async with browser() as chromium:
        runs = {name: await _in_browser(stage, chromium, name) for name in BROWSER_CLIENTS}
        for name, run in {} if stage.h2 else NODE_CLIENTS.items():
            runs[name] = functools.partial(run, stage.url, f"c{next(_numbers)}")
        reading = {name: _Reading(run) for name, run in runs.items()}
        for one in reading.values():
            await one.began()
        assert not [name for name, one in reading.items() if one.task.done()]
        await _replace(stage, proxied)
        stage.go.touch()
        for name, one in reading.items():
            outcome = await one.outcome()
            count = len(words(outcome.text.encode()))
            seen.cells[EVENT, name] = _cell(outcome, count)
            if count < WORDS and not outcome.told:
                seen.wrong.append(f"{name}: looks finished with {count} words")


class _Reading:
    def __init__(self, run: Callable[[Saw], Awaitable[Outcome]]) -> None:
        self._saw = asyncio.Event()
        self.task = asyncio.ensure_future(run(self._saw.set))

    async def began(self) -> None:
        """Wait until the application has some words, or has ended."""
        await until(lambda: self._saw.is_set() or self.task.done(), ENOUGH_SECONDS)

    async def outcome(self) -> Outcome:
        """Wait for the end. An error of the client that nobody expected is an outcome too."""
        try:
            return await asyncio.wait_for(self.task, ENOUGH_SECONDS)
        except Exception as error:  # noqa: BLE001
            return Outcome("", repr(error))


async def _in_browser(stage: Stage, chromium: Browser, name: str) -> Callable[[Saw], Awaitable[Outcome]]:
    context = await chromium.context(ignoreHTTPSErrors=True)
    page = await context.page(stage.url)
    session = f"c{next(_numbers)}"
    job_id = await stage.submit(session, "hold") if name == BROWSER_CLIENTS[0] else ""
    return functools.partial(in_browser, name, page, session, job_id)


async def _replace(stage: Stage, proxied: bool) -> None:
    """Stop the gateway and start another: behind a proxy before, without one afterwards at the same port."""
    [number] = [number for number, gateway in stage.running.items() if gateway.running]
    if proxied:
        await stage.start(1 - number)
    stage.running[number].terminate()
    await stage.running.pop(number).wait()
    if not proxied:
        await stage.start(number)


def _cell(outcome: Outcome, count: int) -> str:
    if outcome.told:
        return f"error: {outcome.told}"
    return "resumes, whole text" if count == WORDS else "looks finished"
