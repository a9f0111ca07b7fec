"""Progress: a line that says what is going on, and data for whoever draws more than that.

holdfast dev --agents examples.progress
"""

from __future__ import annotations

import asyncio

from holdfast import Run, agent

FILES = ("invoices", "letters", "photographs")


@agent
async def progress(run: Run) -> dict[str, int]:
    """Read some files, one after the other."""
    for number, name in enumerate(FILES):
        await run.status(f"Reading {name}…")
        await run.data("progress", {"done": number, "of": len(FILES)})
        await asyncio.sleep(0.2)
    await run.data("progress", {"done": len(FILES), "of": len(FILES)})
    await run.text("All is read.")
    return {"files": len(FILES)}
