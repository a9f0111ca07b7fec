"""The demo agent: a status, an outline, a tool call, and an answer in sections at reading speed. Needs no key."""

from __future__ import annotations

import asyncio
import random
import re
from typing import Any

from holdfast.shared.log.conversation import joined
from holdfast.worker.sdk.registry import agent
from holdfast.worker.sdk.run import Run

WORDS_PER_SECOND = 24
THINKING_SECONDS = 0.7

TIDES = {"what": "holdfast", "kelp_metres": 45, "roots": 0, "gale_survived": True}

HOLDFAST = (
    "Kelp has no roots. What keeps a plant of forty-five metres in its place through a gale is a holdfast: a fist of "
    "short, tough strands that grips the rock. The current may pull as it likes. The blades bend, the strands do not "
    "let go, and when the swell is past, the kelp stands where it stood."
)
ANSWERS = (
    "An answer like this one is made word by word, far away from the page that shows it. Between the two there is a "
    "network, and networks come and go: a train enters a tunnel, a laptop closes, a finger hits refresh. Usually the "
    "words that were on their way are gone, and whoever was waiting begins again.\n\n"
    "Here every word is written down first, in order and with a number of its own, and only then sent on. A page that "
    "comes back says which number it saw last, and goes on with the next one."
)
TRY = (
    "Refresh this page in the middle of a sentence: the sentence goes on. Open it in a second tab: both show the same "
    "words. Press stop: what was said so far stays.\n\n"
    "Nothing is lost, nothing is said twice, and the one who writes never notices."
)
SECTIONS = [("What a holdfast is", HOLDFAST), ("Why an answer needs one", ANSWERS), ("Try it", TRY)]


@agent
async def demo(run: Run) -> dict[str, Any]:
    """Answer every question with a short text about holdfasts."""
    question = _question(run)
    await run.status("Reading your question…")
    await asyncio.sleep(THINKING_SECONDS)
    await run.data("outline", [{"index": index, "title": title} for index, (title, _) in enumerate(SECTIONS)])
    await _look_up(run)
    await run.status("Writing…")
    await _say(run, _opening(question))
    for index, (title, text) in enumerate(SECTIONS):
        await run.section_started(title, index)
        await _say(run, f"\n\n{text}", part=index + 1)
        await run.section_ended(title, index)
    return {"sections": len(SECTIONS)}


def _question(run: Run) -> str:
    """Return the last user message."""
    given = run.input
    if isinstance(given, dict):
        sent = [joined(message["content"]) for message in given.get("messages", []) if message.get("role") == "user"]
        given = sent[-1] if sent else ""
    return " ".join(str(given).split())


def _opening(question: str) -> str:
    if not question:
        return "You asked nothing, so here is something about holding on."
    short = question if len(question) <= 80 else question[:79].rstrip() + "…"
    return f"You asked: “{short}” I am only a demonstration and know about one thing. Here it is."


async def _look_up(run: Run) -> None:
    """Emit an example tool call, whose arguments stream like those of a model."""
    await run.status("Looking something up…")
    await run.tool_started("lookup", "tide_table")
    for piece in ('{"plant"', ': "giant kelp"', ', "in": "a gale"}'):
        await run.tool_arguments("lookup", piece)
        await asyncio.sleep(THINKING_SECONDS / 3)
    await run.tool_called("lookup", "tide_table", {"plant": "giant kelp", "in": "a gale"})
    await asyncio.sleep(THINKING_SECONDS)
    await run.tool_result("lookup", TIDES)


async def _say(run: Run, text: str, part: int = 0) -> None:
    """Emit words at reading speed, with the irregular timing of models."""
    for word in re.findall(r"\S+\s*|\s+", text):
        await run.text(word, part)
        await asyncio.sleep(random.uniform(0.4, 1.6) / WORDS_PER_SECOND)  # noqa: S311 - rhythm
