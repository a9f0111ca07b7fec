"""The floor of Python: a bare ASGI app on uvicorn, with what it was sent in its own memory; no Redis, no check.

This file is also the app that uvicorn serves. It takes lines `<session> <payload>` on the port INTAKE.
"""

from __future__ import annotations

import asyncio
import os
from collections import defaultdict
from collections.abc import Coroutine
from typing import Any

from starlette.types import Receive, Scope, Send

from bench.load import Feed, Target, command
from bench.peers.stage import Peer, Stage
from bench.processes import free_port

HEAD = {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}


class Log:
    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.viewers: list[Send] = []

    def add(self, payload: bytes) -> None:
        self.frames.append(b"id: %d\ndata: %b\n\n" % (len(self.frames) + 1, payload))
        for send in self.viewers:
            step(send(body(self.frames[-1])))


_logs: defaultdict[bytes, Log] = defaultdict(Log)


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        await _live(receive, send)
    else:
        await _stream(scope, receive, send)


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    server = await asyncio.start_server(_take, "127.0.0.1", int(os.environ["INTAKE"]))
    await send({"type": "lifespan.startup.complete"})
    await receive()
    server.close()
    await send({"type": "lifespan.shutdown.complete"})


async def _take(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
    await reader.readline()  # the greeting
    async for line in reader:
        session, _, payload = line[:-1].partition(b" ")
        _logs[session].add(payload)


async def _stream(scope: Scope, receive: Receive, send: Send) -> None:
    log = _logs[scope["path"][1:].encode()]
    at = next((int(value) for name, value in scope["headers"] if name == b"last-event-id"), 0)
    await send(HEAD)
    while at < len(log.frames):
        frames, at = log.frames[at:], len(log.frames)
        await send(body(b"".join(frames)))
    log.viewers.append(send)
    while (await receive())["type"] != "http.disconnect":
        pass
    log.viewers.remove(send)


def body(frame: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": frame, "more_body": True}


def step(sending: Coroutine[Any, Any, None] | Any) -> None:
    """Send without a task. For a client that is slow to take it the event is lost, which makes the run void."""
    try:
        sending.send(None)
    except StopIteration:
        return
    sending.close()


def start(stage: Stage) -> Target:
    intake = free_port()
    child, port = stage.uvicorn("bench.peers.bare:app", "", INTAKE=str(intake))
    lines = [command(b"%d %b\n" % (number, stage.event)) for number in range(stage.sessions)]
    return Target([port], "/{session}", Feed(intake, "lines", lines), [child])


PEER = Peer("bare", "bare ASGI app, in memory", start)
