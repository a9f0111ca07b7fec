"""When streaming breaks off: what was said stays, the viewer is told, and something else goes on.

holdfast dev --agents examples.fallback
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from holdfast import AgentError, Run, agent


async def large_model(question: str) -> AsyncIterator[str]:
    """Stands for a provider whose stream is cut."""
    for word in ("The", "answer", "to", "that", "is"):
        yield f"{word} "
        await asyncio.sleep(0.05)
    raise ConnectionError("the stream was cut")


async def small_model(question: str) -> str:
    """Stands for another model, which answers in one piece."""
    if "impossible" in question:
        raise ConnectionError("nobody answers")
    await asyncio.sleep(0.2)
    return "forty-two."


@agent
async def fallback(run: Run) -> None:
    """Ask one model, and another where the first breaks off."""
    question = str(run.input)
    try:
        async for piece in large_model(question):
            await run.text(piece)
    except ConnectionError as error:
        await run.fallback(str(error), "small-model")
        try:
            await run.text(await small_model(question))
        except ConnectionError:
            raise AgentError("no_model", "No model could answer", retryable=True) from None
