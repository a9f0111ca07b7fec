"""Agents that take their process along, each in its own way, for workers with this module in HOLDFAST_AGENTS."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource

from worker import Run, agent


@agent
async def exits(run: Run) -> None:
    """Ends the process without a word."""
    await run.text("so far ")
    await run.flush()
    os._exit(3)


@agent
async def crashes(run: Run) -> None:
    """Reads where nothing is."""
    await run.text("so far ")
    await run.flush()
    ctypes.string_at(0)


@agent
async def devours(run: Run) -> None:
    """Takes all the memory that it may have, and more, until the process cannot go on."""
    await run.text("so far ")
    await run.flush()
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    try:
        hoard = [bytearray(1 << 26) for _ in range(1 << 10)]
        run.metadata["hoard"] = hoard
    except MemoryError:
        os.abort()  # as the kernel would do it


@agent
async def bystander(run: Run) -> None:
    """Does its own work beside such a job."""
    for number in range(int(run.options.get("tokens", 40))):
        await run.text(f"w{number} ")
        await asyncio.sleep(0.05)
