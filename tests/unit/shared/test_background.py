"""What a background loop does with the errors of its steps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
from holdfast.shared.background import repeat
from holdfast.shared.redis.errors import ConnectionLost, RedisError
from structlog.testing import capture_logs


class Steps:
    """A step that raises these errors in turn, where they are some, and ends the loop after the last."""

    def __init__(self, *outcomes: BaseException | None) -> None:
        self._outcomes: Iterator[BaseException | None] = iter(outcomes)
        self.taken = 0

    async def __call__(self) -> float | None:
        try:
            outcome = next(self._outcomes)
        except StopIteration:
            return None
        self.taken += 1
        if outcome is not None:
            raise outcome
        return 0


class Told:
    def __init__(self) -> None:
        self.calls: list[str] = []

    def began(self, error: RedisError, asked_s: float) -> None:
        self.calls.append(type(error).__name__)

    def ended(self, asked_s: float) -> None:
        self.calls.append("ended")


async def test_no_error_ends_a_loop() -> None:
    steps = Steps(RuntimeError("closed"), ConnectionLost(), KeyError("x"), None, OSError())
    await repeat("l", steps, longest_pause_s=0)
    assert steps.taken == 5


async def test_a_cancelled_call_within_a_step_does_not_end_the_loop_silently() -> None:
    steps = Steps(asyncio.CancelledError(), None)
    with capture_logs() as lines:
        await repeat("l", steps, longest_pause_s=0)
    assert steps.taken == 2
    assert [(line["loop"], line["log_level"]) for line in lines] == [("l", "error")]


async def test_an_error_is_logged_with_its_loop_once_in_a_row() -> None:
    closed = RuntimeError("closed")
    with capture_logs() as lines:
        await repeat("tailer", Steps(closed, closed, None, closed), longest_pause_s=0)
    assert [(line["loop"], line["log_level"]) for line in lines] == [("tailer", "error")] * 2


async def test_a_redis_error_goes_to_the_outage_and_so_does_the_next_success() -> None:
    told = Told()
    with capture_logs() as lines:
        await repeat("l", Steps(ConnectionLost(), None), outage=told, longest_pause_s=0)
    assert told.calls == ["ConnectionLost", "ended", "ended"]
    assert lines == []


async def test_a_loop_is_cancelled_in_its_step_and_in_its_pause() -> None:
    for step in (Steps(*[RuntimeError()] * 1000), asyncio.Event().wait):
        loop = asyncio.create_task(repeat("l", step))
        await asyncio.sleep(0)
        loop.cancel()
        with pytest.raises(asyncio.CancelledError):
            await loop
