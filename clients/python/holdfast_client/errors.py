"""The errors of the client, all of them ClientError."""

from __future__ import annotations

from typing import Any


class ClientError(Exception):
    """Base class of all errors of this package."""


class ArgumentInvalid(ClientError, ValueError):
    """An argument cannot be sent: the address of the gateway, or an id."""


class Unavailable(ClientError):
    """The gateway did not answer for as long as the client was told to wait."""


class ProtocolError(ClientError):
    """The answer is not that of a Holdfast gateway."""


class Refused(ClientError):
    """The gateway refused a request.

    `status`: the HTTP status; `code` and `detail`: of the problem (RFC 9457), None and a description where the answer
    has none; `field`: the first invalid field, if the problem names one."""

    def __init__(self, status: int, code: str | None, detail: str, field: str | None = None) -> None:
        super().__init__(f"{detail} ({code})" if code else detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.field = field


class JobError(ClientError):
    """A job did not complete. `session_id` and `job_id` name it."""

    def __init__(self, message: str, session_id: str, job_id: str) -> None:
        super().__init__(message)
        self.session_id = session_id
        self.job_id = job_id


class JobFailed(JobError):
    """The job ended as failed. `code`, `message` and `retryable` are those of its `job.failed`."""

    def __init__(self, error: dict[str, Any], session_id: str, job_id: str) -> None:
        self.code = str(error.get("code"))
        self.message = str(error.get("message"))
        self.retryable = error.get("retryable") is True
        super().__init__(f"{self.message} ({self.code})", session_id, job_id)


class JobCancelled(JobError):
    """The job was cancelled. `by`: `user`, `deleted`, `interrupt` or `superseded`."""

    def __init__(self, by: str, session_id: str, job_id: str) -> None:
        super().__init__(f"cancelled by {by}", session_id, job_id)
        self.by = by


class SessionDeleted(JobError):
    """The session was deleted before the end of the job was read."""

    def __init__(self, session_id: str, job_id: str) -> None:
        super().__init__("the session was deleted", session_id, job_id)
