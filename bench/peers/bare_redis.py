"""The floor of Python with a log in Redis: the bare ASGI app, told by CLIENT TRACKING what changed, one XREAD for all.

As the product does it, but nothing is checked, counted, bounded or held to a chain; one format, no jobs, no routes.
This file is also the app that uvicorn serves.
"""

from __future__ import annotations

import asyncio
import os
from functools import partial
from typing import Any

from holdfast.shared.redis.connection import RedisConnection
from starlette.types import Receive, Scope, Send

from bench.load import Target
from bench.peers.bare import HEAD, body, step
from bench.peers.naive import feed
from bench.peers.stage import Peer, Stage


class Log:
    def __init__(self) -> None:
        self.last = b"0"
        self.viewers: list[Send] = []


class Tail:
    """Reads what changed, all of it at once, and again when that is done."""

    def __init__(self) -> None:
        self.logs: dict[bytes, Log] = {}
        self.dirty: dict[bytes, None] = {}
        self.connection: RedisConnection | None = None
        self.busy = False

    def invalidated(self, keys: list[bytes] | None) -> None:
        self.dirty |= dict.fromkeys(self.logs if keys is None else keys)

    def drained(self) -> None:
        asked = {} if self.busy else {key: self.logs[key].last for key in self.dirty if key in self.logs}
        if asked and self.connection is not None:
            self.dirty.clear()
            self.busy = True
            self.connection.call(partial(self._take, asked), "XREAD", "STREAMS", *asked, *asked.values())

    def lost(self) -> None:
        os._exit(1)

    def _take(self, asked: dict[bytes, bytes], reply: dict[bytes, list[Any]] | None) -> None:
        self.busy = False
        for key, entries in (reply or {}).items():
            log = self.logs[key]
            if log.last is not asked[key]:  # somebody came who has read further
                self.dirty[key] = None
                continue
            log.last = entries[-1][0]
            message = body(_frames(entries))
            for send in log.viewers:
                step(send(message))


_tail = Tail()


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] != "lifespan":
        await _stream(scope, receive, send)
        return
    await receive()
    _tail.connection = await RedisConnection.open(os.environ["REDIS_URL"], 30, listener=_tail)
    await send({"type": "lifespan.startup.complete"})
    await receive()
    await send({"type": "lifespan.shutdown.complete"})


async def _stream(scope: Scope, receive: Receive, send: Send) -> None:
    key = b"stream:" + scope["path"][1:].encode()
    cursor = next((value for name, value in scope["headers"] if name == b"last-event-id"), b"0")
    await send(HEAD)
    log = _tail.logs.setdefault(key, Log())
    while _tail.connection is not None:
        found = await _tail.connection.execute("XREAD", "STREAMS", key, cursor)
        if found:
            cursor = found[key][-1][0]
            await send(body(_frames(found[key])))
        if not log.viewers or cursor == log.last:
            break
    log.last = cursor
    log.viewers.append(send)
    _tail.invalidated([key])  # what came in between
    asyncio.get_running_loop().call_soon(_tail.drained)
    while (await receive())["type"] != "http.disconnect":
        pass
    log.viewers.remove(send)


def _frames(entries: list[Any]) -> bytes:
    return b"".join([b"id: %b\ndata: %b\n\n" % (raw_id, fields[1]) for raw_id, fields in entries])


def start(stage: Stage) -> Target:
    server = stage.redis()
    child, port = stage.uvicorn("bench.peers.bare_redis:app", server.url)
    return Target([port], "/{session}", feed(server.port, stage), [child], server)


PEER = Peer("bare-redis", "bare ASGI app, log in Redis", start)
