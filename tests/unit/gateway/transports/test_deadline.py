"""Deadlines on one timer, and what a blocked event loop means for them."""

from __future__ import annotations

import asyncio
import time

from holdfast.gateway.transports.deadline import TICK_SECONDS, Deadline

from tests.support.process import until


async def test_an_item_that_is_not_stopped_expires_once() -> None:
    expired: list[str] = []
    deadline = Deadline(TICK_SECONDS, expired.append)
    deadline.start("item")
    await until(lambda: bool(expired))
    assert (expired, len(deadline)) == (["item"], 0)


async def test_an_item_may_still_be_stopped_by_what_arrived_while_the_loop_was_blocked() -> None:
    expired: list[str] = []
    deadline = Deadline(TICK_SECONDS, expired.append)
    deadline.start("item")
    time.sleep(3 * TICK_SECONDS)
    for _ in range(3):
        await asyncio.sleep(0)  # the timer is due, and has run
    deadline.stop("item")
    assert expired == []


async def test_an_item_that_nothing_stops_expires_after_the_loop_was_blocked() -> None:
    expired: list[str] = []
    deadline = Deadline(TICK_SECONDS, expired.append)
    deadline.start("item")
    time.sleep(3 * TICK_SECONDS)
    await until(lambda: expired == ["item"])
