"""Chats of the real AI SDK in Node, and what they should show of a job."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import orjson

from tests.support.node import FOLDER
from tests.support.node_lines import killed, started
from tests.support.process import until

Part = dict[str, Any]


class AiChat:
    """A chat of `tests/node/ai-sdk.mjs`. `events`: what it has reported without being asked."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.events: list[dict[str, Any]] = []

    async def send(self, text: str, **options: Any) -> None:
        """Send a message, without waiting for the response."""
        await self.do("send", text=text, **options)

    async def do(self, command: str, **fields: Any) -> dict[str, Any]:
        """Return the state of the chat after a command: `open`, `status`, `error` and `messages`."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(orjson.dumps({"do": command, **fields}) + b"\n")
        while True:
            line = await asyncio.wait_for(self._process.stdout.readline(), 60)
            assert line, f"node exited with {self._process.returncode}"
            answer: dict[str, Any] = orjson.loads(line)
            if "event" not in answer:
                return answer
            self.events.append(answer)

    async def ended(self) -> dict[str, Any]:
        """Wait until no request is open."""
        return await self.do("ended")

    async def shows(self, holds: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Wait until the state holds."""
        state: dict[str, Any] = {}

        async def look() -> bool:
            nonlocal state
            state = await self.do("state")
            return holds(state)

        await until(look, 60, lambda: str(state)[-2000:])
        return state

    async def kill(self) -> None:
        """End the chat without a word to the gateway, as a closed tab does."""
        await killed(self._process)


@contextlib.asynccontextmanager
async def ai_chats() -> AsyncIterator[Callable[..., Awaitable[AiChat]]]:
    """`await chat("v7", url, "chat-1", agent="demo")`: a chat. It exits at the end of the block."""
    chats: list[AiChat] = []

    async def start(sdk: str, url: str, chat_id: str, *, agent: str = "scripted", **options: Any) -> AiChat:
        given = {"sdk": sdk, "api": f"{url}/ai-sdk/{sdk}/{agent}", "id": chat_id, **options}
        stdin = asyncio.subprocess.PIPE
        process = await started(FOLDER / "ai-sdk.mjs", orjson.dumps(given).decode(), stdin=stdin, limit=1 << 26)
        chats.append(AiChat(process))
        return chats[-1]

    try:
        yield start
    finally:
        for chat in chats:
            await chat.kill()


def text_of(message: dict[str, Any]) -> str:
    """Return the text of an assistant message, without the questions that it asks."""
    texts = [part for part in message["parts"] if part["type"] == "text" and "providerMetadata" not in part]
    return "".join(part["text"] for part in texts)


def parts_of(message: dict[str, Any], kind: str) -> list[Part]:
    return [part for part in message["parts"] if part["type"] == kind]


def shown(message: dict[str, Any]) -> dict[str, Any]:
    """Return what a message shows: its texts by agent, reasoning, tools, and data parts."""
    texts: dict[str, str] = {}
    for part in message["parts"]:
        if part["type"] in ("text", "reasoning"):
            about = part.get("providerMetadata", {}).get("holdfast", {})
            if "questionId" not in about:
                name = f"{part['type']} {about.get('agent', '')}".strip()
                texts[name] = texts.get(name, "") + part["text"]
    tools = {
        part["toolCallId"]: (part["type"], part["state"], part.get("input"), part.get("output"), part.get("errorText"))
        for part in message["parts"]
        if part["type"].startswith("tool-")
    }
    data = [(part["type"], part["data"]) for part in message["parts"] if part["type"].startswith("data-")]
    return {"texts": texts, "tools": tools, "data": data}


def shown_of(events: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the events of a job that count should show."""
    texts: dict[str, str] = {}
    for event in events:
        if event["type"] in ("text.delta", "reasoning.delta") and event["text"]:
            name = f"{event['type'].partition('.')[0]} {event.get('agent', '')}".strip()
            texts[name] = texts.get(name, "") + event["text"]
    return {"texts": texts, "tools": _tools(events), "data": _data(events)}


def _tools(events: list[dict[str, Any]]) -> dict[str, tuple[Any, ...]]:
    tools: dict[str, tuple[Any, ...]] = {}
    for event in events:
        call_id = event.get("call_id", "")
        match event["type"]:
            case "tool.called":
                tools[call_id] = (f"tool-{event['name']}", "input-available", event["arguments"], None, None)
            case "tool.result":
                tools[call_id] = (tools[call_id][0], "output-available", tools[call_id][2], event["result"], None)
            case "tool.failed":
                tools[call_id] = (tools[call_id][0], "output-error", tools[call_id][2], None, event["error"])
    return tools


def _data(events: list[dict[str, Any]]) -> list[tuple[str, Any]]:
    data: list[tuple[str, Any]] = []
    for event in events:
        match event["type"]:
            case "data" if event["name"] not in ("source-url", "source-document", "file"):
                data.append((f"data-{event['name']}", event["value"]))
            case "question.asked":
                asked = {"questionId": event["question_id"], "prompt": event["prompt"], "schema": event["schema"]}
                data.append(("data-question", {**asked, "state": "asked"}))
            case "question.answered":
                data[-1] = ("data-question", {**data[-1][1], "state": "answered", "value": event["value"]})
    return data
