"""The attempts of crossings: a request to each route, with places for the ids of somebody's sessions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


@dataclass(frozen=True, slots=True)
class Target:
    """A session of somebody, or one of nobody whose ids look alike."""

    session: str
    job: str
    cursor: str
    key: str

    def anonymous(self, text: str) -> str:
        """Replace the ids in a response."""
        for name in ("session", "job", "cursor", "key"):
            text = text.replace(getattr(self, name), f"<{name}>")
        return text


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request with places for the ids of a target, `{session}`, `{job}`, `{cursor}`, `{key}`, and for the attacker's
    webhook, `{hook}`."""

    method: str
    path: str
    body: Any = None
    fields: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return " ".join([self.method, self.path.partition("?")[0]])


_RESPONSE = "resp_{session}{job}"
_RUN = {"threadId": "{session}", "runId": "r1", "state": {}, "tools": [], "context": [], "forwardedProps": {}}
_MESSAGES: dict[str, Any] = {"messages": []}
HOOK = {"webhook": {"url": "{hook}"}}
JOB = {"agent": "scripted", "input": "mine", "options": {"tokens": 1, "interval_ms": 0}}
_STREAM = {"Accept": "text/event-stream"}
ATTEMPTS = [
    *(
        Attempt("GET", f"/v1/sessions/{{session}}{path}", None, fields)
        for path, fields in (
            *(
                (path, {})
                for path in ("", "/messages", "/messages?wait=true", "/jobs", "/jobs?cursor={job}", "/jobs/{job}")
            ),
            *((path, _STREAM) for path in ("/events", "/events?last_event_id={cursor}", "/jobs/{job}/events")),
            ("/events", {"Last-Event-ID": "{cursor}", "Accept": "application/x-ndjson"}),
            ("/jobs/{job}/events", {"Last-Event-ID": "{cursor}"}),
            ("/ws", {}),
        )
    ),
    Attempt("POST", "/v1/sessions/{session}/jobs/{job}/cancel"),
    Attempt("POST", "/v1/sessions/{session}/jobs/{job}/retry"),
    Attempt("POST", "/v1/sessions/{session}/jobs/{job}/answer", {"value": 1}),
    Attempt("PATCH", "/v1/sessions/{session}/jobs/{job}", HOOK),
    Attempt("POST", "/v1/sessions/{session}/tickets", {}),
    Attempt("DELETE", "/v1/sessions/{session}/tickets"),
    Attempt("DELETE", "/v1/sessions/{session}"),
    Attempt("POST", "/v1/jobs", JOB | HOOK, {"Idempotency-Key": "{key}"}),
    *(
        Attempt("GET", path, None, _STREAM)
        for path in (
            "/ai-sdk/v6/scripted/{session}/stream",
            "/ai-sdk/v7/scripted/{session}~{job}/stream",
            "/ai-sdk/workflow/scripted/{session}~{job}/stream",
            "/ag-ui/scripted/{session}/events",
            "/ag-ui/scripted?runId={session}~{job}",
            "/ag-ui/scripted?threadId={session}",
        )
    ),
    Attempt("POST", "/ai-sdk/v7/scripted/{session}/stop", {"activeStreamId": "{job}"}),
    Attempt("GET", f"/openai/v1/responses/{_RESPONSE}"),
    Attempt("GET", f"/openai/v1/responses/{_RESPONSE}?stream=true&starting_after=1", None, _STREAM),
    Attempt("GET", f"/openai/v1/responses/{_RESPONSE}/input_items"),
    Attempt("POST", f"/openai/v1/responses/{_RESPONSE}/cancel"),
    Attempt("DELETE", f"/openai/v1/responses/{_RESPONSE}"),
    Attempt("POST", "/openai/v1/responses", {"model": "scripted", "input": "x", "previous_response_id": _RESPONSE}),
    Attempt("POST", "/ag-ui/scripted/{session}/stop", {"runId": "{session}~{job}"}),
    Attempt(
        "POST",
        "/ag-ui/scripted",
        _RUN | _MESSAGES | {"resume": [{"interruptId": "{job}~q1", "status": "resolved", "payload": 1}]},
    ),
    Attempt("POST", "/ag-ui/scripted", _RUN | _MESSAGES, {"Last-Event-ID": "{cursor}"}),
    Attempt("POST", "/copilotkit/agent/scripted/connect", _RUN | _MESSAGES),
    Attempt("POST", "/copilotkit/agent/scripted/stop/{session}"),
]
