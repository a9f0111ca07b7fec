"""How a stream of each dialect is begun and resumed, and by what a client knows that it is complete."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

AGENT = "counts"


@dataclass(frozen=True)
class Request:
    """A request of a client. `body`: None for a GET."""

    path: str
    body: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Dialect:
    """`begin(session, input, job_id)` and `resume(session, first request, bytes received)` make requests; no `resume`:
    the dialect has none. `complete`: the bytes that only a finished stream has. `native`: the job is submitted before
    by POST …/jobs, and has the id `job_id`. `websocket`: the path is one of a WebSocket."""

    name: str
    begin: Callable[[str, str, str], Request]
    resume: Callable[[str, Request, bytes], Request] | None
    complete: bytes
    native: bool = False
    websocket: bool = False


def words(body: bytes) -> set[int]:
    """Return the numbers of the words that are in a stream."""
    return {int(number) for number in re.findall(rb"\bw(\d+) ", body)}


def _last(pattern: bytes, body: bytes) -> str:
    found: list[bytes] = re.findall(pattern, body)
    return found[-1].decode()


def _native(kind: str, accept: str) -> Callable[[str, str, str], Request]:
    def begin(session: str, text: str, job_id: str) -> Request:
        return Request(f"/v1/sessions/{session}/jobs/{job_id}/{kind}", headers={"Accept": accept})

    return begin


def _socket(session: str, text: str, job_id: str) -> Request:
    return Request(f"/v1/sessions/{session}/ws")


def _after(pattern: bytes) -> Callable[[str, Request, bytes], Request]:
    def resume(session: str, first: Request, received: bytes) -> Request:
        cursor = _last(pattern, received)
        if first.path.endswith("/ws"):
            return Request(f"{first.path}?last_event_id={cursor}")
        return Request(first.path, first.body, {**first.headers, "Last-Event-ID": cursor})

    return resume


def _ai_sdk(kind: str) -> Callable[[str, str, str], Request]:
    def begin(session: str, text: str, job_id: str) -> Request:
        message = {"id": f"m-{session}", "role": "user", "parts": [{"type": "text", "text": text}]}
        return Request(f"/ai-sdk/{kind}/{AGENT}", {"id": session, "messages": [message], "trigger": "submit-message"})

    return begin


def _replay(session: str, first: Request, received: bytes) -> Request:
    return Request(f"{first.path}/{session}/stream")


def _from_chunk(session: str, first: Request, received: bytes) -> Request:
    return Request(f"{first.path}/{session}/stream?startIndex={received.count(b'data: {')}")


def _response(session: str, text: str, job_id: str) -> Request:
    return Request("/openai/v1/responses", {"model": AGENT, "input": text, "stream": True, "background": True})


def _from_number(session: str, first: Request, received: bytes) -> Request:
    response_id, number = _last(rb'"id":"(resp_[^"]+)"', received), _last(rb'"sequence_number":(\d+)', received)
    return Request(f"{first.path}/{response_id}?stream=true&starting_after={number}")


def _completion(session: str, text: str, job_id: str) -> Request:
    messages = [{"role": "user", "content": text}]
    return Request("/openai/v1/chat/completions", {"model": AGENT, "messages": messages, "stream": True})


def _run(path: str) -> Callable[[str, str, str], Request]:
    def begin(session: str, text: str, job_id: str) -> Request:
        message = {"id": f"m-{session}", "role": "user", "content": text}
        rest: dict[str, Any] = {"tools": [], "context": [], "state": {}, "forwardedProps": {}}
        body = {"threadId": session, "runId": f"r-{session}", "messages": [message], **rest}
        return Request(path, body, {"Accept": "text/event-stream"})

    return begin


def _again(session: str, first: Request, received: bytes) -> Request:
    return first


SSE, NDJSON = "text/event-stream", "application/x-ndjson"
COMPLETED = b'"type":"job.completed"'
DIALECTS = (
    Dialect("Server-Sent Events", _native("events", SSE), _after(rb"id: (\S+)"), COMPLETED, native=True),
    Dialect("NDJSON", _native("events", NDJSON), _after(rb'"id":"([^"]+)"'), COMPLETED, native=True),
    Dialect("WebSocket", _socket, _after(rb'"id":"([^"]+)"'), COMPLETED, native=True, websocket=True),
    Dialect("AI SDK `v7`", _ai_sdk("v7"), _replay, b"data: [DONE]"),
    Dialect("AI SDK `v6`", _ai_sdk("v6"), _replay, b"data: [DONE]"),
    Dialect("AI SDK `workflow`", _ai_sdk("workflow"), _from_chunk, b"data: [DONE]"),
    Dialect("OpenAI Responses", _response, _from_number, b"data: [DONE]"),
    Dialect("OpenAI Chat Completions", _completion, None, b"data: [DONE]"),
    Dialect("AG-UI", _run(f"/ag-ui/{AGENT}"), _after(rb"id: (\S+)"), b'"type":"RUN_FINISHED"'),
    Dialect("CopilotKit", _run(f"/copilotkit/agent/{AGENT}/run"), _again, b'"type":"RUN_FINISHED"'),
)


def body_of(request: Request) -> str:
    return json.dumps(request.body)
