"""Viewers of the client libraries under cuts: each submits a job in a session of its own and reads it to its end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from holdfast.client import Client, Conversation, Event, SyncClient

from tests.support.node import NODE
from tests.support.process import inherited_env

PROGRAM = Path(__file__).with_name("cut_viewers.mjs")
PATIENCE_S = 120.0
ENOUGH_SECONDS = 300


@dataclass(frozen=True)
class Seen:
    """What one viewer read: the event ids in order, the text of the answer, and the number of gaps.

    `mode`: `raw` (every event), `merged`, or `state` (folded by the client)."""

    session_id: str
    mode: str
    ids: list[str]
    text: str
    gaps: int


async def follow_in_python(url: str, session_ids: Sequence[str], options: dict[str, Any]) -> list[Seen]:
    """Read with the Python client: every other session without asyncio, half of them merged."""
    loop = asyncio.get_running_loop()
    threads = ThreadPoolExecutor(len(session_ids))  # asyncio's own has too few
    viewers = [
        loop.run_in_executor(threads, _read_in_thread, url, session_id, number % 4 < 2, options)
        if number % 2
        else asyncio.ensure_future(_read(url, session_id, number % 4 < 2, options))
        for number, session_id in enumerate(session_ids)
    ]
    try:
        return await asyncio.gather(*viewers)
    finally:
        threads.shutdown(wait=False, cancel_futures=True)


async def _read(url: str, session_id: str, raw: bool, options: dict[str, Any]) -> Seen:
    async with Client(url, patience_s=PATIENCE_S) as client:
        job = await client.send("count", session_id=session_id, agent="scripted", options=options)
        return _seen(session_id, raw, [event async for event in job.stream(raw=raw)])


def _read_in_thread(url: str, session_id: str, raw: bool, options: dict[str, Any]) -> Seen:
    with SyncClient(url, patience_s=PATIENCE_S) as client:
        job = client.send("count", session_id=session_id, agent="scripted", options=options)
        return _seen(session_id, raw, list(job.stream(raw=raw)))


def _seen(session_id: str, raw: bool, events: list[Event]) -> Seen:
    conversation = Conversation()
    for event in events:
        conversation.add(event)
    ids = [event.id for event in events if event.id is not None]
    gaps = sum(event.type == "gap" for event in events)
    return Seen(session_id, "raw" if raw else "merged", ids, conversation.messages[-1]["content"], gaps)


async def follow_in_node(url: str, session_ids: Sequence[str], options: dict[str, Any]) -> list[Seen]:
    """Read with the JavaScript client: a third each raw, merged and folded."""
    given = json.dumps({"url": url, "sessionIds": session_ids, "options": options})
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(NODE, str(PROGRAM), given, stdout=pipe, env=inherited_env())
    try:
        output, _ = await asyncio.wait_for(process.communicate(), ENOUGH_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0
    return [Seen(**json.loads(line)) for line in output.splitlines()]


Follow = Callable[[str, Sequence[str], dict[str, Any]], Awaitable[list[Seen]]]
CLIENTS: dict[str, Follow] = {"js": follow_in_node, "python": follow_in_python}
