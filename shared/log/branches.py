"""Select the messages of a session whose conversation may have branched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

import orjson

STEP_BYTES = 256 * 1024  # of messages between two turns of the event loop: about 1 ms


async def of_jobs(messages: Sequence[bytes], is_wanted: Callable[[str], bool]) -> list[bytes]:
    """Return the messages of the jobs that are wanted, in their order. Each message is JSON that names its `job_id`."""
    kept, size = [], 0
    for message in messages:
        if is_wanted(orjson.loads(message).get("job_id", "")):
            kept.append(message)
        size += len(message)
        if size >= STEP_BYTES:
            await asyncio.sleep(0)
            size = 0
    return kept
