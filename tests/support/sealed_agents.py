"""Agents that put a planted secret wherever a job's content is stored, for workers with this module in
HOLDFAST_AGENTS."""

from __future__ import annotations

import asyncio
import os
import signal

from holdfast.worker import AgentError, Run, agent


def planted(name: str) -> str:
    """The secret of one field."""
    return f"planted-{name}-c0ffee"


PLACES = (
    *(
        "input",
        "options",
        "metadata",
        "client",
        "webhook",
        "text",
        "arguments",
        "tool-result",
        "step",
        "prompt",
        "schema",
        "answer",
    ),
    *("result", "error", "cancelled"),
)


@agent
async def confides(run: Run) -> dict[str, str]:
    """Asks, records a step, loses its worker in the first attempt, calls a tool and returns a result."""
    schema = {"type": "string", "title": planted("schema")}
    await run.ask(f"Which {planted('prompt')}?", schema)

    def found() -> str:
        return planted("step")

    await run.step("find", found)
    if run.attempt == 1:
        await run.flush()
        os.kill(os.getpid(), signal.SIGKILL)
    await run.text(f"I say {planted('text')}. ")
    call_id = "call-1"
    await run.tool_started(call_id, "look")
    await run.tool_called(call_id, "look", {"for": planted("arguments")})
    await run.tool_result(call_id, {"found": planted("tool-result")})
    await run.text("Done.")
    return {"result": planted("result")}


@agent
async def fails(run: Run) -> None:
    """Fails with a message of its own."""
    raise AgentError("broken", f"It broke: {planted('error')}")


@agent
async def lingers(run: Run) -> None:
    """Says one thing and waits to be cancelled."""
    await run.text(planted("cancelled"))
    await run.flush()
    await asyncio.sleep(600)
