"""How a job ended. Free of I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .conversation import Conversation
from .errors import JobCancelled, JobFailed, ProtocolError, SessionDeleted
from .event import Event
from .turn import Message


@dataclass(frozen=True, slots=True)
class JobResult:
    """A job that completed. `result`: of `job.completed`. `messages`: the job's part of the conversation, input first.

    `incomplete`: events of the job were missing, so that messages may be missing or shortened."""

    session_id: str
    job_id: str
    result: Any
    messages: list[Message]
    incomplete: bool

    @property
    def text(self) -> str:
        """The text of the last message of an assistant; empty without one."""
        texts = (str(message["content"]) for message in reversed(self.messages) if message["role"] == "assistant")
        return next(texts, "")


class JobReader:
    """Folds the events of one job up to its end."""

    def __init__(self, session_id: str, job_id: str) -> None:
        self._session_id = session_id
        self._job_id = job_id
        self._conversation = Conversation()
        self._last: Event | None = None

    def add(self, event: Event) -> None:
        self._conversation.add(event)
        self._last = event

    def result(self) -> JobResult:
        """Return the result, after the last event. Raises JobFailed, JobCancelled, SessionDeleted."""
        names = self._session_id, self._job_id
        body = {} if self._last is None else self._last.body
        match body.get("type"):
            case "job.completed":
                conversation = self._conversation
                return JobResult(*names, body.get("result"), conversation.messages, conversation.incomplete)
            case "job.failed":
                raise JobFailed(body.get("error") or {}, *names)
            case "job.cancelled":
                raise JobCancelled(str(body.get("by")), *names)
            case "session.deleted":
                raise SessionDeleted(*names)
        raise ProtocolError(f"the stream of job {self._job_id} ended without its terminal event")
