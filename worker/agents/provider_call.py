"""Measure the requests of the built-in chat agents to their providers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.shared.tracing import start_span
from holdfast.worker.agents.provider_errors import ProviderFailure
from holdfast.worker.attempt.current_job import current_job
from holdfast.worker.process.measures import PROVIDER_REQUESTS, PROVIDER_SECONDS, measures

OK = "ok"
ABORTED = "aborted"  # the job was cancelled or lost meanwhile


# Names of OpenTelemetry's semantic conventions for generative AI, which are still in development.
_OPERATION, _PROVIDER, _MODEL = "gen_ai.operation.name", "gen_ai.provider.name", "gen_ai.request.model"


@contextmanager
def measured(provider: str, model: str) -> Iterator[None]:
    """Count the request to a provider in the block, measure its duration, and record its span."""
    began_s, outcome, job = time.monotonic(), ABORTED, current_job()
    attributes = {_OPERATION: "chat", _PROVIDER: provider, _MODEL: model}
    span = start_span("request model", "client", "" if job is None else job.traceparent, attributes)
    try:
        yield
        outcome = OK
    except ProviderFailure as failure:
        outcome = failure.code
        raise
    finally:
        span.end("" if outcome == OK else outcome)
        measures.add(PROVIDER_REQUESTS, provider, outcome)
        measures.observe(PROVIDER_SECONDS, time.monotonic() - began_s, provider)
