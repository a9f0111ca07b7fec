"""An agent that times the appends of its own tokens. Loaded into the worker by HOLDFAST_AGENTS."""

from __future__ import annotations

import asyncio
import time

from holdfast.worker import Run, agent


@agent
async def probe(run: Run) -> dict[str, list[float]]:
    """Stream `tokens` tokens, one every `interval_ms`; the result has the ms that each took into the log."""
    times_ms: list[float] = []
    for number in range(run.options["tokens"]):
        began = time.perf_counter()
        await run.text(f"w{number} ")
        await run.flush()
        times_ms.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(run.options["interval_ms"] / 1000)
    return {"append_ms": times_ms}
