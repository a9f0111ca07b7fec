"""The thread that watches an event loop."""

from __future__ import annotations

import asyncio
import threading

import pytest
from holdfast.worker.process.watchdog import Watchdog


async def test_a_report_that_fails_does_not_end_the_heartbeats(monkeypatch: pytest.MonkeyPatch) -> None:
    reported, beat = threading.Event(), threading.Event()

    def report(*_: object, **__: object) -> None:
        reported.set()
        raise OSError("the log is closed")

    def after_report() -> None:
        if reported.is_set():
            beat.set()

    monkeypatch.setattr("holdfast.worker.process.watchdog._report", report)
    watching = asyncio.create_task(Watchdog(after_report, lease_s=6).run())
    await asyncio.sleep(0)
    assert beat.wait(15)  # the event loop is blocked meanwhile
    watching.cancel()
