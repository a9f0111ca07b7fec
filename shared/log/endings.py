"""The errors of jobs that end without an attempt."""

from __future__ import annotations

from holdfast.shared.errors import DataKeyGone, RedisRefused, SealBroken

# With encryption, readers know these events by their exact text: an older process takes a changed one for a forgery.
ENDINGS = {
    DataKeyGone.code: {"code": DataKeyGone.code, "message": DataKeyGone.title, "retryable": False},
    SealBroken.code: {"code": SealBroken.code, "message": SealBroken.title, "retryable": False},
    "exhausted": {"code": "poisoned", "message": "Every attempt lost its worker", "retryable": False},
    "expired": {"code": "expired", "message": "The job waited too long for a worker", "retryable": True},
    "unanswered": {"code": "unanswered", "message": "Nobody answered the question in time", "retryable": True},
    "log_error": {"code": RedisRefused.code, "message": RedisRefused.title, "retryable": False},
    "log_lost": {"code": "log_lost", "message": "The event log vanished while the job ran", "retryable": True},
}
