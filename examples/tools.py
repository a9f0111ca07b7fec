"""Tool calls that the viewer sees: what is called with what, and what came of it, failures too.

holdfast dev --agents examples.tools
"""

from __future__ import annotations

import asyncio

from holdfast import Run, agent

CELSIUS = {"Paris": 18, "Oslo": 4}


async def weather(city: str) -> dict[str, int]:
    """Stands for a call that takes a moment, and may fail."""
    await asyncio.sleep(0.1)
    return {"celsius": CELSIUS[city]}


@agent
async def tools(run: Run) -> None:
    """Look up the weather in three cities, of which one is unknown."""
    for city in ("Paris", "Oslo", "Atlantis"):
        try:
            async with run.tool("weather", {"city": city}) as call:
                call.result = await weather(city)
        except KeyError:
            await run.text(f"Nobody knows about {city}. ")
        else:
            await run.text(f"{call.result['celsius']} °C in {city}. ")
