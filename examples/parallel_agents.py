"""Agents that work side by side. Their events interleave as they come, and each carries its agent's name.

holdfast dev --agents examples.parallel_agents
"""

from __future__ import annotations

import asyncio

from holdfast import Run, agent

VIEWS = {
    "optimist": "The glass is half full and there is more where that came from.",
    "pessimist": "The glass is half empty and it was not a large glass to begin with.",
    "engineer": "The glass is twice as large as it needs to be.",
}


async def speak(run: Run, text: str) -> int:
    """One agent's turn."""
    words = text.split()
    for word in words:
        await run.text(f"{word} ")
        await asyncio.sleep(0.05)
    return len(words)


@agent
async def parallel_agents(run: Run) -> dict[str, int]:
    """Let three agents look at the same glass."""
    await run.status("Three agents are looking at it")
    counts = await asyncio.gather(*(speak(run.agent(name), text) for name, text in VIEWS.items()))
    return dict(zip(VIEWS, counts, strict=True))
