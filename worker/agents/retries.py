"""Retry requests to a model, as long as nothing of the answer was emitted."""

from __future__ import annotations

import asyncio
import itertools
import math
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from email.utils import parsedate_to_datetime
from typing import TypeVar

from holdfast.worker.agents.emitter import AnswerEmitter
from holdfast.worker.agents.provider_errors import LONGEST_RETRY_AFTER_S, ProviderFailure
from holdfast.worker.run import Run

FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 8.0

Result = TypeVar("Result")


async def with_retries(
    run: Run, emitter: AnswerEmitter, request: Callable[[], Awaitable[Result]], retries: int
) -> Result:
    """Request an answer, and retry after temporary failures unless part of it was emitted.

    Raises the last ProviderFailure."""
    for tried in itertools.count():
        try:
            return await request()
        except ProviderFailure as failure:
            if emitter.has_emitted or tried == retries or not may_pass(failure):
                raise
            wait_s = next_wait_s(failure, tried)
            await run.status(f"{failure.message}. Try {tried + 2} of {retries + 1} follows in {wait_s:.1f} s")
        await asyncio.sleep(wait_s)
    raise AssertionError


def asked_to_wait_s(headers: Mapping[str, str]) -> float | None:
    """Parse `Retry-After`, a number of seconds or a date. Returns seconds, or None where it is missing or invalid."""
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(headers.get(name, "")) * unit_s
        except ValueError:
            continue
        if not math.isnan(seconds):
            return max(seconds, 0.0)
    try:
        return max(parsedate_to_datetime(headers.get("retry-after", "")).timestamp() - time.time(), 0.0)
    except (ValueError, OverflowError):
        return None


def may_pass(failure: ProviderFailure) -> bool:
    return failure.retryable and (failure.retry_after_s or 0) <= LONGEST_RETRY_AFTER_S


def next_wait_s(failure: ProviderFailure, tried: int) -> float:
    """Return the provider's demanded wait, else an exponential backoff; with jitter, so that clients do not retry
    together."""
    if failure.retry_after_s is not None:
        return failure.retry_after_s + random.uniform(0, 0.25)  # noqa: S311 - no secret
    backoff_s: float = min(FIRST_WAIT_S * 2**tried, LONGEST_WAIT_S)
    return backoff_s * random.uniform(0.75, 1)  # noqa: S311 - likewise
