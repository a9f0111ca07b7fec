"""Agents that read what a page sends with its run, for workers with this module in HOLDFAST_AGENTS."""

from __future__ import annotations

import os
import signal
from typing import Any

import orjson
from holdfast.worker import Run, agent


@agent
async def guides(run: Run) -> str:
    """Answers from the page. With the input `die` its worker dies in the first attempt."""
    if run.input == "die" and run.attempt == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return read_by(run)


@agent
def guides_in_a_thread(run: Any) -> str:
    """Answers from the page, as a synchronous agent."""
    return read_by(run)


def read_by(run: Run) -> str:
    """All that a run says of the page."""
    page = run.client
    return orjson.dumps({"state": page.state, "context": page.context, "tools": page.tools}).decode()
