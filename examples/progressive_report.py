"""A report whose outline stands at once, and whose sections fill in one after the other.

holdfast dev --agents examples.progressive_report
"""

from __future__ import annotations

import asyncio

from holdfast import Run, agent

REPORT = {
    "What was asked": "How tides come about.",
    "What is known": "The moon pulls at the near side of the sea more than at the far one.",
    "What follows": "Two bulges, under which the earth turns: two tides a day.",
}


@agent
async def progressive_report(run: Run) -> dict[str, int]:
    """Write a report section by section."""
    await run.data("outline", list(REPORT))
    for title, text in REPORT.items():
        async with run.section(title):
            for word in text.split():
                await run.text(f"{word} ")
                await asyncio.sleep(0.02)
    return {"sections": len(REPORT)}
