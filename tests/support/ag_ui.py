"""Real clients of AG-UI in Node, and what they should show of a job."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from tests.support.node import FOLDER
from tests.support.node_lines import killed, started
from tests.support.process import until


class AgUiClient:
    """A client of `tests/node/ag-ui.mjs`."""

    def __init__(self, process: asyncio.subprocess.Process, kind: str) -> None:
        self._process = process
        self.kind = kind

    async def do(self, command: str, **fields: Any) -> dict[str, Any]:
        """Return the state of the client after a command: `open`, `error`, `messages`, `events`, `interrupts`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(orjson.dumps({"do": command, **fields}) + b"\n")
        line = await asyncio.wait_for(self._process.stdout.readline(), 60)
        assert line, f"node exited with {self._process.returncode}"
        answer: dict[str, Any] = orjson.loads(line)
        return answer

    async def shows(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the state holds."""
        state: dict[str, Any] = {}

        async def look() -> bool:
            nonlocal state
            state = await self.do("state")
            return holds(state)

        await until(look, 60, lambda: str(state)[-2000:])
        return state

    async def ended(self) -> dict[str, Any]:
        """Wait until no request is open."""
        return await self.shows(lambda state: not state["open"])

    async def settled(self, text: str = "no text") -> dict[str, Any]:
        """Wait until the answer has this text, or the run has ended. A run that is cut is repeated, as an application
        has HttpAgent and CopilotKit do it; TanStack AI resumes by itself."""
        while True:
            state = await self.shows(lambda state: not state["open"] or text in text_of(state))
            if state["open"] or not _cut(state):
                return state
            await self.do("again")

    async def kill(self) -> None:
        """End the client without a word to the gateway, as a closed tab does."""
        await killed(self._process)


def _cut(state: dict[str, Any]) -> bool:
    assert not str(state["error"]).startswith(("HTTP 4", "HTTP 500")), state["error"]
    return bool(state["error"]) and state["events"][-1:] != ["RUN_ERROR"]


@contextlib.asynccontextmanager
async def ag_ui_clients() -> AsyncIterator[Callable[..., Awaitable[AgUiClient]]]:
    """`await client("http", url, "t1", agent="demo")`: a client. It exits at the end of the block."""
    clients: list[AgUiClient] = []

    async def start(kind: str, url: str, thread: str, *, agent: str = "scripted", **options: Any) -> AgUiClient:
        given = {"client": kind, "url": url, "thread": thread, "agent": agent, **options}
        stdin = asyncio.subprocess.PIPE
        process = await started(FOLDER / "ag-ui.mjs", orjson.dumps(given).decode(), stdin=stdin, limit=1 << 26)
        clients.append(AgUiClient(process, kind))
        return clients[-1]

    try:
        yield start
    finally:
        for client in clients:
            await client.kill()


def text_of(state: dict[str, Any]) -> str:
    """Return the text of the assistant's messages."""
    return "".join(_texts(message) for message in state["messages"] if message["role"] == "assistant")


def _texts(message: dict[str, Any]) -> str:
    if "parts" in message:
        return "".join(part["content"] for part in message["parts"] if part["type"] == "text")
    return message.get("content") or ""


def shown(state: dict[str, Any]) -> dict[str, Any]:
    """Return what the messages of a client show: text, reasoning, and tools by the id of their call."""
    reasoning, tools = "", {}
    for message in state["messages"]:
        reasoning += message["content"] if message["role"] == "reasoning" else ""
        for call in message.get("toolCalls", ()):
            tools[call["id"].partition("/")[2]] = [
                call["function"]["name"],
                _parsed(call["function"]["arguments"]),
                None,
            ]
        if message["role"] == "tool":
            tools[message["toolCallId"].partition("/")[2]][2] = message["content"]
        for part in message.get("parts", ()):
            call_id = part.get("toolCallId", part.get("id", "")).partition("/")[2]
            if part["type"] == "thinking":
                reasoning += part["content"]
            elif part["type"] == "tool-call":
                tools[call_id] = [part["name"], _parsed(part["arguments"]), None]
            elif part["type"] == "tool-result":
                tools[call_id][2] = part["content"]
    return {"text": text_of(state), "reasoning": reasoning, "tools": tools}


def shown_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the events of a job that count should show."""
    texts = {"text.delta": "", "reasoning.delta": ""}
    tools: dict[str, list[Any]] = {}
    for event in events:
        match event["type"]:
            case "text.delta" | "reasoning.delta":
                texts[event["type"]] += event["text"]
            case "tool.called":
                tools[event["call_id"]] = [event["name"], event["arguments"], None]
            case "tool.result":
                tools[event["call_id"]][2] = _json(event["result"])
    return {"text": texts["text.delta"], "reasoning": texts["reasoning.delta"], "tools": tools}


def _parsed(arguments: str) -> Any:
    """Return the arguments of a call; as text while they are incomplete."""
    try:
        return orjson.loads(arguments)
    except orjson.JSONDecodeError:
        return arguments


def _json(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()
