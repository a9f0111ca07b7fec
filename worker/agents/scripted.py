"""The agent for tests and benchmarks: streams what its options specify. Needs no key and no network."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import orjson
from holdfast.worker.sdk.registry import agent
from holdfast.worker.sdk.run import AgentError, Run
from pydantic import BaseModel, ConfigDict, Field, ValidationError


class Script(BaseModel):
    """The options. `fail_at` and `crash_at`: after how many tokens. `interval_ms`: the time between two tokens."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tokens: int = Field(100, ge=0, le=10_000_000)
    interval_ms: float = Field(20, ge=0, le=3_600_000)
    tools: int = Field(0, ge=0, le=1000)
    ask: str | None = None
    fail_at: int | None = Field(None, ge=0)
    crash_at: int | None = Field(None, ge=0)
    crash_always: bool = False


@agent
async def scripted(run: Run) -> dict[str, int]:
    """Emit the tool calls, then the tokens `w0 w1 …`. Fail or crash where the options say so."""
    script = _script(run.options)
    if script.ask is not None:
        await run.ask(script.ask)
    for number in range(script.tools):
        await _call_tool(run, number)
    loop = asyncio.get_running_loop()
    due_s = loop.time()
    for number in range(script.tokens):
        await _at(run, script, number)
        await run.text(f"w{number} ")
        due_s += script.interval_ms / 1000
        await asyncio.sleep(max(due_s - loop.time(), 0))
    await _at(run, script, script.tokens)
    return {"tokens": script.tokens}


def _script(options: dict[str, Any]) -> Script:
    try:
        return Script.model_validate(options)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(map(str, ("options", *first["loc"])))
        raise AgentError("options_invalid", f"{field}: {first['msg']}") from None


async def _at(run: Run, script: Script, spoken: int) -> None:
    """Do what the options specify after so many tokens."""
    if spoken == script.fail_at:
        raise RuntimeError(f"the script says to fail after {spoken} tokens")
    if spoken == script.crash_at and (run.attempt == 1 or script.crash_always):
        await run.flush()
        os.kill(os.getpid(), signal.SIGKILL)
        os._exit(137)  # a container's init process ignores signals from itself


async def _call_tool(run: Run, number: int) -> None:
    call_id, arguments = f"call-{number}", {"number": number}
    text = orjson.dumps(arguments).decode()
    await run.tool_started(call_id, "echo")
    for piece in (text[:4], text[4:]):
        await run.tool_arguments(call_id, piece)
    await run.tool_called(call_id, "echo", arguments)
    await run.tool_result(call_id, arguments)
