"""Report one attempt to the people who run the worker: its log lines and its metrics."""

from __future__ import annotations

import time
from typing import Any

import structlog
from holdfast.shared.log.events import FAILED
from holdfast.shared.log.log_replies import Attempt
from holdfast.shared.queue import QueueEntry
from holdfast.shared.trace_context import trace_keys
from holdfast.shared.tracing import span_attributes, start_span
from holdfast.worker.attempt.ending import Ending
from holdfast.worker.process.measures import DURATION, ENDED, ERRORS, QUEUE_WAIT, STARTED, measures

EXPLAINED = frozenset({"options_invalid"})  # errors whose message names fields and limits, no content of the job

log = structlog.get_logger()


class AttemptReport:
    """The report of one attempt, which starts now. `entry`: the leased queue entry of its job."""

    def __init__(self, entry: QueueEntry, attempt: Attempt) -> None:
        self._agent = attempt.agent
        self._began_s = time.monotonic()
        keys = log_keys(entry) | {"attempt": attempt.number}
        self._span = start_span("run attempt", "consumer", attempt.traceparent, span_attributes(keys))
        self._keys = keys | trace_keys(self._span.traceparent)
        log.info("job started", **self._keys)
        measures.add(STARTED, attempt.agent)
        if attempt.number == 1 and entry.made_at:
            measures.observe(QUEUE_WAIT, max(entry.age_s, 0), attempt.agent)
            start_span("wait in queue", "internal", attempt.traceparent, span_attributes(keys), entry.made_at).end()

    @property
    def traceparent(self) -> str:
        """That of the attempt's span."""
        return self._span.traceparent

    def ended(self, ending: Ending) -> None:
        """Report the end of the job."""
        error = ending.fields["error"]["code"] if ending.kind == FAILED else ""
        seconds = self._count(ending.kind.removeprefix("job."), error)
        log_end(ending, self._keys, int(seconds * 1000))

    def deleted(self) -> None:
        """Report that the job ended with its session."""
        self._count("cancelled")
        log.info("job ended with its session, which was deleted", **self._keys)

    def lost(self) -> None:
        """Report that another attempt has claimed the session."""
        self._count("lost", "lost")
        log.warning("job lost", **self._keys)

    def died(self, reason: str) -> None:
        """Report that the attempt's own process died."""
        self._count("died", "died")
        log.warning("the process of the last attempt died", **self._keys, reason=reason)

    def interrupted(self) -> None:
        """Report that the attempt was released, or that Redis refused it: the job continues elsewhere, or is closed."""
        self._count("interrupted", "interrupted")

    def _count(self, outcome: str, error: str = "") -> float:
        """Count the outcome, and end the span. Returns the seconds since the start."""
        self._span.set({"holdfast.outcome": outcome})
        self._span.end(error)
        seconds = time.monotonic() - self._began_s
        measures.add(ENDED, self._agent, outcome)
        measures.observe(DURATION, seconds, self._agent)
        return seconds


def log_keys(entry: QueueEntry) -> dict[str, Any]:
    """Return the fields of a log line that name the entry's job."""
    return {"session_id": entry.session_id, "job_id": entry.job_id, "agent": entry.agent}


def log_end(ending: Ending, keys: dict[str, Any], ms: int) -> None:
    """Log the end of a job, and count its error."""
    if ending.kind == FAILED:
        error = ending.fields["error"]
        measures.add(ERRORS, error["code"])
        reason = {"reason": error["message"]} if error["code"] in EXPLAINED else {}
        log.warning("job failed", **keys, code=error["code"], ms=ms, **reason)
    else:
        log.info(ending.kind.replace(".", " "), **keys, ms=ms)
