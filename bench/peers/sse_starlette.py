"""The same with sse-starlette's EventSourceResponse. This file is also the app that uvicorn serves."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import redis.asyncio
from fastapi import FastAPI, Request, Response

from bench.load import Target
from bench.peers import naive
from bench.peers.stage import Peer, PeerMissing, Stage


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.redis = redis.asyncio.Redis.from_url(os.environ["REDIS_URL"], decode_responses=True)
    yield
    await app.state.redis.aclose()


app = FastAPI(lifespan=lifespan)


async def stream(request: Request, session: str, cursor: str) -> AsyncIterator[dict[str, str]]:
    while True:
        for _, entries in await request.app.state.redis.xread({f"stream:{session}": cursor}, block=5000):
            for entry_id, fields in entries:
                cursor = entry_id
                yield {"id": entry_id, "data": fields["data"]}


@app.get("/events/{session}")
async def events(request: Request, session: str) -> Response:
    from sse_starlette import EventSourceResponse  # noqa: PLC0415 - not installed where it is not measured

    return EventSourceResponse(stream(request, session, request.headers.get("last-event-id", "0")))


def start(stage: Stage) -> Target:
    if importlib.util.find_spec("sse_starlette") is None:
        raise PeerMissing("sse-starlette is not installed (pip install -r bench/requirements.txt)")
    return naive.serve(stage, "bench.peers.sse_starlette:app")


PEER = Peer("sse-starlette", "sse-starlette", start)
