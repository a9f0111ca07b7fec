"""The least that an agent is: what it yields is the answer, as it comes.

holdfast dev --agents examples.basic
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from holdfast import Run, agent


@agent
async def basic(run: Run) -> AsyncIterator[str]:
    """Say again what was said, and how often that has been so."""
    asked_before = sum(message["role"] == "user" for message in run.history)
    for word in f"Question {asked_before + 1} was: {run.input}".split():
        yield f"{word} "
        await asyncio.sleep(0.05)
