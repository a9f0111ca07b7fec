"""Agents for the tests of dialects, also for workers with this module in HOLDFAST_AGENTS."""

from __future__ import annotations

import asyncio

from holdfast.worker import AgentError, Run, agent

THOUGHTS = "First the maps, then the trains. "
WORDS = 40


@agent
async def travels(run: Run) -> None:
    """Thinks, calls two tools, asks a question, and speaks for as long as `words` and `interval_ms` say."""
    pause_s = float(run.options.get("temperature", 1)) / 100
    for word in THOUGHTS.split(" ")[:-1]:
        await run.reasoning(f"{word} ")
        await asyncio.sleep(pause_s)
    await run.text("Looking. ")
    for tool in ("maps", "trains"):
        async with run.tool(tool, {"to": "the sea"}) as call:
            await asyncio.sleep(pause_s)
            call.result = {"found": 3}
    await run.usage(10, 5, "none")
    city = await run.ask("Which city?", {"enum": ["Brest", "Faro"]}) if "ask" in str(run.input) else "Brest"
    for number in range(int(run.options.get("max_tokens", WORDS))):
        await run.text(f"{number} ")
        await asyncio.sleep(pause_s)
    await run.text(f"to {city}.")


def told(city: str = "Brest", words: int = WORDS) -> str:
    """What `travels` says in the end."""
    return f"Looking. {''.join(f'{number} ' for number in range(words))}to {city}."


@agent
async def asks(run: Run) -> str:
    """Asks for any text, and repeats it."""
    return str(await run.ask("What?"))


@agent
async def strands(run: Run) -> None:
    """Fails halfway."""
    await run.text("So far ")
    raise AgentError("strike", "The trains stand still", retryable=run.input == "retryable")


@agent
async def echoes(run: Run) -> str:
    """Repeats what it was given: the history, the input and the options."""
    said = "".join(f"[{message['role']}: {message['content']}]" for message in run.history)
    return f"{said}{run.input}{dict(sorted(run.options.items()))}"
