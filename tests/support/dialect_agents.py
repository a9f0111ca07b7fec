"""Agents that use everything that a front end shows, for workers with this module in HOLDFAST_AGENTS."""

from __future__ import annotations

import asyncio
import os
from typing import Any

import orjson
from holdfast.worker import Run, agent

INTERVAL_MS = int(os.environ.get("TRAVELS_INTERVAL_MS", "10"))


@agent
async def travels(run: Run) -> None:
    """Reasons, calls two tools side by side, asks a person, and writes. Every attempt emits the same."""
    options = _options(run)
    pause_s = int(options.get("interval_ms", INTERVAL_MS)) / 1000
    for word in ("Where ", "to ", "go? "):
        await run.reasoning(word)
        await asyncio.sleep(pause_s)
    await run.status("Looking")
    async with run.tool("flights", {"from": "Oslo"}) as flights, run.tool("weather", {"city": "Rome"}) as weather:
        await asyncio.sleep(pause_s)
        weather.result = {"degrees": 21}
        flights.result = ["SK 1"]
    await run.data("source-url", {"url": "https://example.com/rome", "title": "Rome"})
    if options.get("ask", True):
        answer = await run.ask("Which day?", options.get("schema", {"type": "string"}))
        await run.text(f"On {answer}: ")
    for number in range(int(options.get("tokens", 30))):
        await run.text(f"w{number} ")
        await asyncio.sleep(pause_s)
    await run.usage(10, 20, "none")


def _options(run: Run) -> dict[str, Any]:
    """The job's options; of a page that sends none, the message, if that is a JSON object."""
    text = str(run.input)
    return orjson.loads(text) if text.startswith('{"') else run.options


@agent
async def strides(run: Run) -> None:
    """Writes between steps, so that a takeover keeps what came before the last one."""
    pause_s = int(run.options.get("interval_ms", 10)) / 1000

    async def stride(number: int) -> int:
        async with run.tool("stride", {"number": number}) as call:
            await asyncio.sleep(pause_s)
            call.result = number
        return number

    for number in range(int(run.options.get("steps", 3))):
        await run.text(f"s{number} ")
        await run.step("stride", stride, number)
        for word in range(int(run.options.get("tokens", 5))):
            await run.text(f"w{number}.{word} ")
            await asyncio.sleep(pause_s)
