"""The agent whose streams are measured, for workers with this module in HOLDFAST_AGENTS."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from holdfast.worker import Run, agent

WORDS = 200
SHORT_WORDS = 20
PIECES, PIECE_BYTES = 600, 60_000


@agent
async def counts(run: Run) -> None:
    """Write `w0 w1 …`. The input `short`: few of them; `hold`: only half of them until the file STREAM_ENDS_GO exists;
    `flood`: more than all buffers on the way hold."""
    if "flood" in str(run.input):
        for number in range(PIECES):
            await run.text(f"w{number} " + "x" * PIECE_BYTES)
        return
    short, hold = "short" in str(run.input), "hold" in str(run.input)
    for number in range(SHORT_WORDS if short else WORDS):
        if hold:
            await _held(number)
        await run.text(f"w{number} ")
        await asyncio.sleep(0.005 if short else 0.03)


async def _held(number: int) -> None:
    """Go on slowly to the middle, and from there on only when the file is there."""
    go = Path(os.environ["STREAM_ENDS_GO"])
    if number < WORDS // 2 and not go.exists():
        await asyncio.sleep(0.2)
    while number >= WORDS // 2 and not go.exists():
        await asyncio.sleep(0.05)
