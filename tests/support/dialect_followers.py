"""Clients of the AI SDK and AG-UI, and plain readers of the native streams, that follow one job to its end."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from functools import partial
from math import inf
from typing import Any

import httpx2
import orjson

from tests.support.ag_ui import AgUiClient, ag_ui_clients
from tests.support.ag_ui import shown as shown_by_run
from tests.support.ag_ui import text_of as text_of_run
from tests.support.ai_sdk import AiChat, ai_chats, text_of
from tests.support.ai_sdk import shown as shown_by_chat
from tests.support.followers import Follow, JobAt, Json, Show, Shown, add, has_ended, shown_by
from tests.support.sse import SseParser

RELOAD_SECONDS = 15  # after which a person loads the page again that does not show the end


class _Growing:
    """Passes on what a text has gained since the last look."""

    def __init__(self, show: Show) -> None:
        self._show = show
        self._text = ""

    def look(self, text: str) -> None:
        self._show(text.removeprefix(self._text))
        self._text = text


async def ai_sdk(sdk: str, job: JobAt, show: Show) -> Shown:
    """Resume the chat, again after each cut, as an application has it do."""
    growing = _Growing(show)

    def look(state: Json) -> bool:
        growing.look(text_of(_answer(state)))
        return not state["open"]

    async with ai_chats() as start:
        chat: AiChat = await start(sdk, job.url, job.session_id, agent=job.agent, sendId=True, headers=job.headers)
        state: Json = {"messages": []}
        while "status" not in _answer(state).get("metadata", {}):
            await chat.do("resume")
            state = await chat.shows(look)
    shown = shown_by_chat(_answer(state))
    tools = [[kind.removeprefix("tool-"), given, _json(out)] for kind, _, given, out, _ in shown["tools"].values()]
    texts = shown["texts"]
    return Shown(texts.get("text", ""), texts.get("reasoning", ""), tools, _answer(state)["metadata"]["status"])


def _answer(state: Json) -> Json:
    last: Json = (state["messages"] or [{"role": "user"}])[-1]
    return last if last["role"] == "assistant" else {"role": "assistant", "parts": []}


async def ag_ui(kind: str, job: JobAt, show: Show) -> Shown:
    """Join the thread, again after each cut, and answer what the agent asks."""
    growing = _Growing(show)
    reload_at = time.monotonic() + RELOAD_SECONDS if kind == "tanstack" else inf

    def look(state: Json) -> bool:
        growing.look(text_of_run(state))
        return not state["open"] or time.monotonic() > reload_at

    async with ag_ui_clients() as start:
        client: AgUiClient = await start(kind, job.url, job.session_id, agent=job.agent, headers=job.headers)
        await client.do("join")
        while True:
            state = await client.shows(look)
            if state["interrupts"]:
                await client.do("answer", value="Faro")
            elif state["events"][-1:] in (["RUN_FINISHED"], ["RUN_ERROR"]):
                break
            else:
                if kind == "tanstack":  # it may have given up, and stay open, and joins only once
                    await client.kill()
                    reload_at = time.monotonic() + RELOAD_SECONDS
                    client = await start(kind, job.url, job.session_id, agent=job.agent, headers=job.headers)
                await client.do("join")
    shown = shown_by_run(state)
    end = "cancelled" if state["error"] else "completed"
    return Shown(shown["text"], shown["reasoning"], list(shown["tools"].values()), end)


async def sse(job: JobAt, show: Show) -> Shown:
    events: list[Json] = []
    while not has_ended(events, job):
        parser = SseParser()
        async for chunk in _stream(job, events, "text/event-stream"):
            for frame in parser.feed(chunk):
                add(events, frame.json | ({"id": frame.id} if frame.id else {}), show)
    return shown_by(events, [event["id"] for event in events])


async def ndjson(job: JobAt, show: Show) -> Shown:
    events: list[Json] = []
    while not has_ended(events, job):
        rest = b""
        async for chunk in _stream(job, events, "application/x-ndjson"):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in filter(None, lines):
                add(events, orjson.loads(line), show)
    return shown_by(events, [event["id"] for event in events])


async def _stream(job: JobAt, events: list[Json], media_type: str) -> AsyncIterator[bytes]:
    """Read the job's raw stream after the last event, up to its end or a cut."""
    headers = job.headers | {"accept": media_type, "accept-encoding": "identity"}
    if events:
        headers["last-event-id"] = events[-1]["id"]
    url = f"{job.url}/v1/sessions/{job.session_id}/jobs/{job.job_id}/events?raw=true"
    async with httpx2.AsyncClient(trust_env=False, timeout=60) as client:
        try:
            async with client.stream("GET", url, headers=headers) as response:
                assert response.status_code == 200
                async for chunk in response.aiter_raw():
                    yield chunk
        except httpx2.TransportError:
            return


def _json(value: Any) -> str:
    return value if isinstance(value, str) else orjson.dumps(value).decode()


NATIVE: dict[str, Follow] = {"sse": sse, "ndjson": ndjson}
AI_SDK: dict[str, Follow] = {
    "ai 6": partial(ai_sdk, "v6"),
    "ai 7": partial(ai_sdk, "v7"),
    "WorkflowChatTransport": partial(ai_sdk, "workflow"),
}
AG_UI: dict[str, Follow] = {
    "HttpAgent": partial(ag_ui, "http"),
    "TanStack AI": partial(ag_ui, "tanstack"),
    "CopilotKit": partial(ag_ui, "copilotkit"),
}
