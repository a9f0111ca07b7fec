"""The usual tutorial design: FastAPI with one XREAD per viewer, and a worker with one XADD per token.

This file is also the app that uvicorn serves. COLLECTOR=tuned freezes what is there at the start and raises thresholds.
"""

from __future__ import annotations

import gc
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

from bench.load import Feed, Target, command
from bench.peers.stage import Peer, Stage


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.redis = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
    if os.environ.get("COLLECTOR") == "tuned":
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 100)
    yield
    await app.state.redis.aclose()


app = FastAPI(lifespan=lifespan)


async def stream(request: Request, session: str, cursor: str) -> AsyncIterator[str]:
    while not await request.is_disconnected():
        for _, entries in await request.app.state.redis.xread({f"stream:{session}": cursor}, block=5000):
            for entry_id, fields in entries:
                cursor = entry_id
                yield f"id: {entry_id}\ndata: {fields['data']}\n\n"


@app.get("/events/{session}")
async def events(request: Request, session: str) -> StreamingResponse:
    cursor = request.headers.get("last-event-id", "0")
    return StreamingResponse(stream(request, session, cursor), media_type="text/event-stream")


def start(stage: Stage) -> Target:
    return serve(stage, "bench.peers.naive:app")


def start_tuned(stage: Stage) -> Target:
    return serve(stage, "bench.peers.naive:app", COLLECTOR="tuned")


def serve(stage: Stage, application: str, **env: str) -> Target:
    """An app that reads `stream:<session>` from Redis and streams /events/<session>."""
    server = stage.redis()
    child, port = stage.uvicorn(application, server.url, **env)
    return Target([port], "/events/{session}", feed(server.port, stage), [child], server)


def feed(redis_port: int, stage: Stage) -> Feed:
    keys = [b"stream:%d" % number for number in range(stage.sessions)]
    return Feed(redis_port, "resp", [command(b"XADD", key, b"*", b"data", stage.event) for key in keys])


PEER = Peer("naive", "naive FastAPI", start)
TUNED = Peer("naive-gc", "naive FastAPI, collector tuned", start_tuned)
