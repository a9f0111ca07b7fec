"""Webhooks that were not created since their tenant has as many as it may have: logged, and counted for metrics."""

from __future__ import annotations

from collections import Counter

import structlog

counts: Counter[str] = Counter()  # of this process, by event

log = structlog.get_logger()


def note(entry: str, event: str) -> None:
    """Log and count a webhook that was refused. `entry`: the id of the job's queue entry."""
    counts[event] += 1
    session_id, _, job_id = entry.rpartition("/")
    log.warning("webhook refused: too many of its tenant wait", session_id=session_id, job_id=job_id, webhook=event)
