"""The streams of every dialect as their transport shows them: their pieces, and how each one ends."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from typing import Any, NamedTuple

import orjson

from tests.support.followers import JobAt
from tests.support.node import FOLDER
from tests.support.node_lines import node_lines
from tests.support.process import until
from tests.support.proxies import Way


class Request(NamedTuple):
    """How a dialect's stream of a job is asked for."""

    method: str
    path: str
    headers: dict[str, str]
    body: str = ""


class End(NamedTuple):
    """`how`: "end", "cut", "RST_STREAM <code>", or the error of a connection that was not made."""

    status: int
    how: str
    text: str


def requests_of(job: JobAt) -> dict[str, Request]:
    """Return the requests for the streams of a job that a chat completion may join by its key."""
    native = f"/v1/sessions/{job.session_id}/jobs/{job.job_id}/events"
    return {
        "SSE": Request("GET", native, {"accept": "text/event-stream"}),
        "NDJSON": Request("GET", native, {"accept": "application/x-ndjson"}),
        "AI SDK": Request("GET", f"/ai-sdk/v7/{job.agent}/{job.session_id}/stream", {}),
        "AI SDK, Workflow": Request("GET", f"/ai-sdk/workflow/{job.agent}/{job.session_id}/stream?startIndex=0", {}),
        "OpenAI Responses": Request("GET", f"/openai/v1/responses/resp_{job.session_id}{job.job_id}?stream=true", {}),
        "AG-UI": Request("GET", f"/ag-ui/{job.agent}/{job.session_id}/events", {}),
    }


def completion(agent: str, given: str) -> Request:
    """Return the request for the chat completion of this input. All with one input are those of one job."""
    body = {"model": agent, "messages": [{"role": "user", "content": given}], "stream": True}
    headers = {"content-type": "application/json", "idempotency-key": given.rpartition("/")[2]}
    return Request("POST", "/openai/v1/chat/completions", headers, orjson.dumps(body).decode())


Stream = tuple[Way, str]


class Wires:
    """Streams that are read side by side, by way and dialect."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._ends: dict[str, End] = {}
        self._streams: dict[str, Stream] = {}

    @contextlib.asynccontextmanager
    async def open(self, ways: Sequence[Way], requests: dict[str, Request]) -> AsyncIterator[None]:
        """Ask for these streams in every way, until the block ends."""
        streams = {f"{way.name} {dialect}": (way, dialect) for way in ways for dialect in requests}
        given = [self._given(name, way, requests[dialect]) for name, (way, dialect) in streams.items()]
        self._streams |= streams
        self._texts |= dict.fromkeys(streams, "")
        reading = asyncio.create_task(self._read(given))
        try:
            yield
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    def _given(self, name: str, way: Way, request: Request) -> dict[str, Any]:
        fields = request._asdict() | {"url": way.url + request.path}
        return fields | {"name": name, "http": way.http}

    async def _read(self, requests: list[dict[str, Any]]) -> None:
        async for line in node_lines(FOLDER / "wire.mjs", requests=requests):
            name = line["name"]
            if "text" in line:
                self._texts[name] += line["text"]
            else:
                self._ends[name] = End(line["status"], line["end"], self._texts[name])

    async def show(self, text: str) -> None:
        """Wait until every stream has the text."""
        await until(
            lambda: all(text in received for received in self._texts.values()),
            describe=lambda: str(
                {
                    name: (received[-200:], self._ends.get(name))
                    for name, received in self._texts.items()
                    if text not in received
                }
            ),
        )

    async def ended(self) -> dict[Stream, End]:
        """Wait until every stream has ended."""
        await until(lambda: len(self._ends) == len(self._streams), describe=lambda: f"ended: {sorted(self._ends)}")
        return {self._streams[name]: end for name, end in self._ends.items()}
