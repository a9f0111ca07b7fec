"""Measure the requests of the built-in chat agents to their providers."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.worker.agents.provider_errors import ProviderFailure
from holdfast.worker.process.measures import PROVIDER_REQUESTS, PROVIDER_SECONDS, measures

OK = "ok"
ABORTED = "aborted"  # the job was cancelled or lost meanwhile


@contextmanager
def measured(provider: str) -> Iterator[None]:
    """Count the request to a provider in the block, and its duration."""
    began_s, outcome = time.monotonic(), ABORTED
    try:
        yield
        outcome = OK
    except ProviderFailure as failure:
        outcome = failure.code
        raise
    finally:
        measures.add(PROVIDER_REQUESTS, provider, outcome)
        measures.observe(PROVIDER_SECONDS, time.monotonic() - began_s, provider)
