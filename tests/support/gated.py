"""An agent that a test lets write word by word, so that faults come in the middle however fast the clients are."""

from __future__ import annotations

import asyncio
from pathlib import Path

from holdfast.worker import Run, agent

WORDS = 60
THOUGHTS = "First the maps, then the trains. "


@agent
async def gated(run: Run) -> None:
    """Thinks, calls two tools, asks, and writes WORDS words, each when the gate that its input names is open for it."""
    await run.reasoning(THOUGHTS)
    await run.text("Looking. ")
    for tool in ("maps", "trains"):
        async with run.tool(tool, {"to": "the sea"}) as call:
            call.result = {"found": 3}
    city = await run.ask("Which city?", {"type": "string"})
    gate = Gate(Path(str(run.input)))
    for number in range(WORDS):
        while not gate.is_open(number):
            await asyncio.sleep(0.01)
        await run.text(f"{number} ")
    await run.text(f"to {city}.")


def told(city: str = "Faro") -> str:
    """What `gated` says in the end."""
    return f"Looking. {''.join(f'{number} ' for number in range(WORDS))}to {city}."


class Gate:
    """A file whose size is the number of words that may be written."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.touch()

    def is_open(self, number: int) -> bool:
        return number < self.path.stat().st_size

    def open(self, words: int = WORDS) -> None:
        """Let the agent write up to so many words. A gate does not close."""
        with self.path.open("ab") as file:
            file.write(b"." * max(0, words - self.path.stat().st_size))
