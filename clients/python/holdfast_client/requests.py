"""The requests of the HTTP API (docs/protocol.md, "Calls") as values. Free of I/O."""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypedDict

from .errors import ArgumentInvalid

OnBusy = Literal["queue", "reject", "interrupt"]
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `status`: that of success. `repeatable`: sending it twice has the effect of sending it once.

    `done`: a status that means, after a try whose response was lost, that this try succeeded."""

    method: str
    path: str
    json: Any = None
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    repeatable: bool = True
    done: int | None = None


def session_path(session_id: str) -> str:
    """Return the path of a session. Raises ArgumentInvalid."""
    return f"/v1/sessions/{_checked('session_id', session_id)}"


def job_path(session_id: str, job_id: str) -> str:
    """Return the path of a job. Raises ArgumentInvalid."""
    return f"{session_path(session_id)}/jobs/{_checked('job_id', job_id)}"


def _checked(name: str, value: str) -> str:
    if _ID.fullmatch(value) is None:
        raise ArgumentInvalid(f"{name}: 1 to 128 characters of A-Z, a-z, 0-9, '_' and '-'")
    return value


class JobOptions(TypedDict, total=False):
    """Fields of docs/protocol.md, "A job". What is left out is left to the gateway.

    `session_id`: without one, the job gets a new session. `idempotency_key`: the same key is the same job; without one,
    the client makes one. `after`: the job that it follows; None: none. Left out, it follows the newest one."""

    session_id: str
    agent: str
    options: Mapping[str, Any]
    client: Mapping[str, Any]
    metadata: Mapping[str, Any]
    timeout_s: int
    on_busy: OnBusy
    webhook: Mapping[str, Any]
    budget: Mapping[str, float]
    after: str | None
    idempotency_key: str


def submit(input: Any, options: JobOptions) -> Request:
    """Submit a job. The key makes the request repeatable. Raises ArgumentInvalid."""
    body = {"input": input, **options}
    key = body.pop("idempotency_key", None) or secrets.token_urlsafe(16)
    session_id = body.pop("session_id", None)
    path = "/v1/jobs" if session_id is None else f"{session_path(session_id)}/jobs"
    given = {name: value for name, value in body.items() if value is not None or name == "after"}
    return Request("POST", path, given, {"Idempotency-Key": key}, status=202)


def session(session_id: str) -> Request:
    return Request("GET", session_path(session_id))


def job(session_id: str, job_id: str) -> Request:
    return Request("GET", job_path(session_id, job_id))


def messages(session_id: str) -> Request:
    return Request("GET", f"{session_path(session_id)}/messages")


def agents() -> Request:
    return Request("GET", "/v1/agents")


def sessions_page(cursor: str | None) -> Request:
    return Request("GET", "/v1/sessions", params={"cursor": cursor} if cursor else {})


def jobs_page(session_id: str, cursor: str | None) -> Request:
    return Request("GET", f"{session_path(session_id)}/jobs", params={"cursor": cursor} if cursor else {})


def cancel(session_id: str, job_id: str) -> Request:
    return Request("POST", f"{job_path(session_id, job_id)}/cancel", status=202)


def answer(session_id: str, job_id: str, value: Any, question_id: str | None) -> Request:
    """Answer a question. Without `question_id` the request is not repeatable: it might answer the next question."""
    body = {"value": value} | ({} if question_id is None else {"question_id": question_id})
    path = f"{job_path(session_id, job_id)}/answer"
    return Request("POST", path, body, status=202, repeatable=question_id is not None)


def delete(session_id: str) -> Request:
    return Request("DELETE", session_path(session_id), status=202, done=404)


class StreamOptions(TypedDict, total=False):
    """How to read a stream.

    `only_new`: begin behind the last event. `wait`: wait for a session that does not exist yet. `raw`: neither merge
    deltas nor leave out discarded events while catching up. `patience_s`: how long an outage may last once the stream
    was answered; that of the client by default. `on_outage`: called with the reason when such an outage begins."""

    only_new: bool
    wait: bool
    raw: bool
    patience_s: float
    on_outage: Callable[[str], None]


def events(session_id: str, job_id: str | None, options: StreamOptions) -> Request:
    path = session_path(session_id) if job_id is None else job_path(session_id, job_id)
    chosen = (("only_new", "from", "now"), ("wait", "wait", "true"), ("raw", "raw", "true"))
    params = {name: value for option, name, value in chosen if options.get(option)}
    return Request("GET", f"{path}/events", params=params)
