"""Clients that follow one job to its end side by side, each resuming in its own way when it is cut."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, NamedTuple, Self

import holdfast.client
import openai
import orjson
from holdfast.shared.ids import parse_id
from holdfast.shared.log.events import TERMINAL
from openai import AsyncOpenAI
from websockets.exceptions import ConnectionClosed, InvalidMessage

from tests.support.ag_ui import shown_of
from tests.support.node import FOLDER
from tests.support.node_lines import node_lines
from tests.support.openai_reader import ENDS
from tests.support.process import until
from tests.support.websocket_client import open_socket, receive

ENOUGH_SECONDS = 40
Json = dict[str, Any]
Show = Callable[[str], None]  # called with each text that a client receives


class JobAt(NamedTuple):
    """`token`: an API key or a ticket, where the gateway authenticates."""

    url: str
    session_id: str
    job_id: str
    agent: str = "gated"
    token: str = ""

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}


@dataclass(frozen=True)
class Shown:
    """What a client shows in the end. `tools`: name, arguments and result as JSON. `end`: the status of the job.
    `ids`: those of all events that it received, where it has them."""

    text: str
    reasoning: str
    tools: list[Any]
    end: str
    ids: list[str] | None = None


def shown_by(events: list[Json], ids: list[str] | None = None) -> Shown:
    """Fold the raw events of a job, as the protocol asks a client to."""
    kept: list[Json] = []
    for event in events:
        if "discard_from" in event:
            kept = [other for other in kept if parse_id(other["id"]) < parse_id(event["discard_from"])]
        kept.append(event)
    shown = shown_of(kept)
    return Shown(
        shown["text"], shown["reasoning"], list(shown["tools"].values()), events[-1]["type"].removeprefix("job."), ids
    )


Follow = Callable[[JobAt, Show], Coroutine[Any, Any, Shown]]


async def openai_python(job: JobAt, show: Show) -> Shown:
    events: list[Json] = []
    async with AsyncOpenAI(
        base_url=f"{job.url}/openai/v1", api_key=job.token or "none", max_retries=0, timeout=60
    ) as sdk:
        while not events or events[-1]["type"] not in ENDS:
            cursor: Any = {"starting_after": events[-1]["sequence_number"]} if events else {}
            with contextlib.suppress(openai.APIConnectionError):
                async for event in await sdk.responses.retrieve(_response_id(job), stream=True, **cursor):
                    events += [event.to_dict()]
                    show(_delta(events[-1]))
                assert events[-1]["type"] in ENDS, "ended early as if it were finished"
    return _shown_by_response(events)


async def openai_node(job: JobAt, show: Show) -> Shown:
    given = {"base": f"{job.url}/openai/v1", "call": "endure", "id": _response_id(job), "apiKey": job.token or "none"}
    events: list[Json] = []
    async with node_lines(FOLDER / "openai.mjs", **given) as lines:
        async for line in lines:
            assert "error" not in line, line
            if "event" in line:
                events += [line["event"]]
                show(_delta(events[-1]))
    return _shown_by_response(events)


def _response_id(job: JobAt) -> str:
    return f"resp_{job.session_id}{job.job_id}"


def _delta(event: Json) -> str:
    return str(event["delta"]) if event["type"] == "response.output_text.delta" else ""


def _shown_by_response(events: list[Json]) -> Shown:
    assert [event["sequence_number"] for event in events] == list(range(len(events))), "lost or doubled"
    response = events[-1]["response"]
    items: dict[str, list[Json]] = {"message": [], "reasoning": [], "mcp_call": []}
    for item in response["output"]:
        items.setdefault(item["type"], []).append(item)
    text = "".join(part["text"] for item in items["message"] for part in item["content"])
    reasoning = "".join(part["text"] for item in items["reasoning"] for part in item["summary"])
    tools = [[item["name"], orjson.loads(item["arguments"]), item["output"]] for item in items["mcp_call"]]
    return Shown(text, reasoning, tools, response["status"])


async def websocket_python(job: JobAt, show: Show) -> Shown:
    events: list[Json] = []
    while not has_ended(events, job):
        cursor = f"&last_event_id={events[-1]['id']}" if events else ""
        port = int(job.url.rpartition(":")[2])
        with contextlib.suppress(ConnectionClosed, InvalidMessage, OSError):
            async with open_socket(
                port, job.session_id, f"?raw=true{cursor}", additional_headers=job.headers
            ) as socket:
                while not has_ended(events, job):
                    add(events, await receive(socket), show)
    return shown_by(events, [event["id"] for event in events])


async def websocket_node(job: JobAt, show: Show) -> Shown:
    events: list[Json] = []
    async with _follow_in_node("websocket", job) as lines:
        async for line in lines:
            add(events, line["event"], show)
    return shown_by(events, [event["id"] for event in events])


def add(events: list[Json], event: Json, show: Show) -> None:
    if "id" in event:
        events.append(event)
        show(event["text"] if event["type"] == "text.delta" else "")


def has_ended(events: list[Json], job: JobAt) -> bool:
    return bool(events) and events[-1]["type"] in TERMINAL and events[-1]["job_id"] == job.job_id


def _follow_in_node(client: str, job: JobAt) -> AbstractAsyncContextManager[AsyncIterator[Any]]:
    given = {"client": client, "url": job.url, "session": job.session_id, "job": job.job_id, "ticket": job.token}
    return node_lines(FOLDER / "follow.mjs", **given)


async def js(job: JobAt, show: Show) -> Shown:
    message: Json = {}
    async with _follow_in_node("js", job) as lines:
        async for line in lines:
            show(line["message"]["content"][len(message.get("content", "")) :])
            message = line["message"]
    return _shown_by_message(message)


def _shown_by_message(message: Json) -> Shown:
    reasoning = "".join(part["text"] for part in message["parts"] if part["type"] == "reasoning")
    tools = [
        [part["name"], part["arguments"], orjson.dumps(part["result"]).decode()]
        for part in message["parts"]
        if part["type"] == "tool"
    ]
    return Shown(message["content"], reasoning, tools, message["status"])


async def python(job: JobAt, show: Show) -> Shown:
    events: list[Json] = []
    conversation = holdfast.client.Conversation()
    async with holdfast.client.Client(job.url) as client:
        async for event in client.stream(job.session_id, job.job_id, raw=True):
            conversation.add(event)
            add(events, event.body | ({"id": event.id} if event.id else {}), show)
    text = "".join(message["content"] for message in conversation.messages if message["role"] == "assistant")
    return replace(shown_by(events, [event["id"] for event in events]), text=text)


OPENAI: dict[str, Follow] = {"OpenAI, Python": openai_python, "OpenAI, Node": openai_node}
WEBSOCKET: dict[str, Follow] = {"WebSocket, Python": websocket_python, "WebSocket, Node": websocket_node}
LIBRARIES: dict[str, Follow] = {"clients/js": js, "clients/python": python}


class Followers:
    """Clients of one job. They are stopped at the end of the block."""

    def __init__(self, job: JobAt, clients: Mapping[str, Follow]) -> None:
        self._job = job
        self._clients = clients
        self._texts = dict.fromkeys(clients, "")
        self._tasks: dict[str, asyncio.Task[Shown]] = {}

    async def __aenter__(self) -> Self:
        self._start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self._stop()

    async def refresh(self) -> None:
        """Drop every client and what it has, and start it again."""
        await self._stop()
        self._start()

    async def show(self, text: str) -> None:
        """Wait until every client has received the text. Fails if one has ended."""

        def shown() -> bool:
            for name, task in self._tasks.items():
                assert not task.done(), f"{name} has ended: {task}"
            return all(text in received for received in self._texts.values())

        await until(shown, describe=lambda: str({name: text[-80:] for name, text in self._texts.items()}))

    async def ended(self) -> dict[str, Shown]:
        """Wait until every client has received the end of the job."""
        _, late = await asyncio.wait(self._tasks.values(), timeout=ENOUGH_SECONDS)
        assert not late, f"do not end: {[task.get_name() for task in late]}"
        return {name: task.result() for name, task in self._tasks.items()}

    def _start(self) -> None:
        self._texts = dict.fromkeys(self._clients, "")
        self._tasks = {
            name: asyncio.create_task(follow(self._job, self._receiver(name)), name=name)
            for name, follow in self._clients.items()
        }

    def _receiver(self, name: str) -> Show:
        def show(text: str) -> None:
            self._texts[name] += text

        return show

    async def _stop(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
