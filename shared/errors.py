"""All errors of Holdfast. Each has a stable `code` and the HTTP status with which a gateway answers it."""

from __future__ import annotations


class HoldfastError(Exception):
    """The base class. `str()` of an error is safe to show to users: it contains no secret."""

    code = "internal"
    status = 500
    title = "Something went wrong"

    def __init__(self, detail: str = "") -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title


class SettingsInvalid(HoldfastError):
    """A setting cannot be used; the process does not start."""

    code = "settings_invalid"
    title = "A setting cannot be used"


class RequestInvalid(HoldfastError):
    """The request is malformed. `field` names the part, `detail` says what is allowed."""

    code = "invalid_request"
    status = 422
    title = "The request cannot be used"

    def __init__(self, field: str, allowed: str) -> None:
        super().__init__(f"{field}: {allowed}")
        self.field = field


class CursorInvalid(HoldfastError):
    code = "cursor_invalid"
    status = 400
    title = "The cursor is not an event id"

    def __init__(self) -> None:
        super().__init__("Last-Event-ID or last_event_id must be an event id such as 1763683200123-2, or 0-0")


class AgentUnknown(HoldfastError):
    code = "agent_unknown"
    status = 404
    title = "No worker offers this agent"


class NoAgents(AgentUnknown):
    """No agent is known yet. Workers announce theirs within seconds, also after Redis was emptied."""

    code = "no_agents"
    status = 503
    title = "No worker has announced its agents yet"
    retry_after_s = 2

    def __init__(self) -> None:
        super().__init__(self.title)


class SessionUnknown(HoldfastError):
    code = "session_unknown"
    status = 404
    title = "There is no such session"


class JobUnknown(HoldfastError):
    code = "job_unknown"
    status = 404
    title = "There is no such job in this session"


class BodyTooLarge(HoldfastError):
    code = "body_too_large"
    status = 413
    title = "The body is too large"


class SessionBusy(HoldfastError):
    code = "session_busy"
    status = 409
    title = "The session already has a job"


class SessionHasOtherJobs(HoldfastError):
    code = "session_has_other_jobs"
    status = 409
    title = "The session has other jobs"


class IdempotencyMismatch(HoldfastError):
    code = "idempotency_mismatch"
    status = 422
    title = "This Idempotency-Key was used with another body"


class QuestionAnswered(HoldfastError):
    code = "question_answered"
    status = 409
    title = "The question is answered already"


class QuestionUnknown(HoldfastError):
    code = "question_unknown"
    status = 404
    title = "The job has not asked this question"


class QueueFull(HoldfastError):
    """Nothing was accepted. `retry_after_s`: seconds until a retry makes sense."""

    code = "queue_full"
    status = 429
    title = "Too many jobs are waiting"
    retry_after_s = 5


class TenantQueueFull(QueueFull):
    code = "tenant_queue_full"
    title = "Too many jobs of this tenant are waiting"


class LogUnavailable(HoldfastError):
    """Redis did not answer. The job may have been accepted: repeat with the same Idempotency-Key."""

    code = "log_unavailable"
    status = 503
    title = "The event log does not answer"
    retry_after_s = 2

    def __init__(self, job_id: str | None = None) -> None:
        super().__init__(self.title)
        self.job_id = job_id


class UnreadableHere(HoldfastError):
    """This process cannot handle the data. Another one may."""

    status = 503
    retry_after_s = 2


class SchemaNewer(UnreadableHere):
    """Data was written by a newer version of Holdfast. Processes of that version can handle it."""

    code = "schema_newer"
    title = "This was written by a newer version of Holdfast"

    def __init__(self, what: str, version: int, known: int) -> None:
        super().__init__(f"{what} has schema version {version}; this process knows versions up to {known}")


class MasterKeyMissing(UnreadableHere):
    """Data is encrypted, and this process lacks the master key of the tenant's data key."""

    code = "master_key_missing"
    title = "This process has no master key for the tenant's data key"


class DataKeyGone(HoldfastError):
    """The tenant's data key was deleted, so what it encrypted is lost for good."""

    code = "data_key_gone"
    status = 410
    title = "The data key of this session is gone: its content cannot be read any more"


class SealBroken(HoldfastError, ValueError):
    """A stored value was changed, moved from its place, or is not encrypted where it has to be."""

    code = "seal_broken"
    title = "A stored value of this session was changed, moved, or is not encrypted"


class EventInvalid(HoldfastError):
    """An agent emitted an invalid event: malformed, too large, or not JSON."""

    code = "event_invalid"
    title = "The agent emitted something that is not an event"


class Fenced(HoldfastError):
    """Another attempt has claimed the session: this one can no longer write."""

    code = "fenced"
    title = "Another attempt holds the session"


class LogGone(HoldfastError):
    """The log vanished during an attempt, or lost more of its tail than the attempt retains."""

    code = "log_lost"
    title = "The event log vanished"


class RedisRefused(HoldfastError):
    """Redis refuses a command permanently. `reason`: the text of Redis, for log lines only."""

    code = "log_error"
    title = "Redis refuses what the job has to write or to read"

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class LogFull(HoldfastError):
    """Redis is at maxmemory."""

    code = "log_full"
    title = "The event log is full"
