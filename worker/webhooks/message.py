"""Build the messages of webhooks from the records of their jobs, so that every try sends the same id and body."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, NamedTuple

import orjson
from holdfast.shared.log.events import encode
from holdfast.shared.owner import public_id
from holdfast.shared.sessions import JobWebhook
from holdfast.shared.webhooks.deliveries import ENDED, WebhookDelivery

MAX_MEMBER_BYTES = 64 * 1024
_WANTED = {"ended": "job.ended", "asked": "question.asked"}
_BOUNDED = ("result", "question")


class Message(NamedTuple):
    """A webhook to send. `question_id`: of the question that it delivers, else empty. `traceparent`: of its job."""

    id: str
    url: str
    body: bytes
    question_id: str
    traceparent: str = ""


class NotEndedYet(Exception):
    """The job is about to end: its queue entry was dropped first."""


def message_of(delivery: WebhookDelivery, read: JobWebhook) -> Message | None:
    """Return the message to deliver; None where there is none, such as for a question that has been answered.

    Raises NotEndedYet."""
    if read.webhook is None:
        return None
    webhook, job, question_id = orjson.loads(read.webhook), read.job, ""
    if _WANTED[delivery.event] not in webhook["events"]:
        return None
    if delivery.event == ENDED:
        if job.end is None:
            raise NotEndedYet
        kind, at, facts = f"job.{job.status}", job.ended_at, _ending(job.ending)
    else:
        if job.question is None or job.question["question_id"] == delivery.asked:
            return None
        question_id = job.question["question_id"]
        kind, at, facts = "question.asked", read.asked_at, {"question": job.question}
    session_id = public_id(delivery.session_id)
    data = {
        "session_id": session_id,
        "job_id": job.job_id,
        "agent": job.agent,
        "status": job.status if delivery.event == ENDED else "waiting",
        "job_url": f"/v1/sessions/{session_id}/jobs/{job.job_id}",
        "metadata": job.metadata,
        "usage": job.usage,
    }
    body = encode({"type": kind, "timestamp": _iso(at or job.created_at), "data": data | _bounded(facts)})
    return Message(_message_id(delivery, question_id), webhook["url"], body, question_id, job.traceparent)


def _ending(event: dict[str, Any]) -> dict[str, Any]:
    return {name: event[name] for name in ("result", "error", "by") if name in event}


def _bounded(facts: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is too large. `truncated` names it."""
    truncated = [name for name in _BOUNDED if name in facts and len(encode(facts[name])) > MAX_MEMBER_BYTES]
    kept = {name: value for name, value in facts.items() if name not in truncated}
    return kept | ({"truncated": truncated} if truncated else {})


def _message_id(delivery: WebhookDelivery, question_id: str) -> str:
    parts = (delivery.session_id, delivery.job_id, delivery.event, question_id)
    return f"msg_{sha256(chr(0).join(parts).encode()).hexdigest()[:32]}"


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
