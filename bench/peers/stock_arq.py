"""What tutorials teach: FastAPI enqueues into stock arq, a worker does one XADD a token, a viewer reads by XREAD.

This file is also the app that uvicorn serves and the module that `arq` runs. REDIS_URL and MAX_JOBS configure it.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

import redis.asyncio
from arq import create_pool
from arq.connections import RedisSettings
from fastapi import FastAPI, Request

from bench.peers.naive import events

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")


async def generate(context: dict[str, Any], session: str, tokens: int, interval_ms: float) -> None:
    """Stream so many tokens, the first at once."""
    for number in range(tokens):
        data = json.dumps({"type": "text.delta", "text": f"w{number} "})
        await context["redis"].xadd(f"stream:{session}", {"data": data})
        await asyncio.sleep(interval_ms / 1000)


async def probe(context: dict[str, Any], session: str, tokens: int, interval_ms: float) -> None:
    """Likewise, and time every XADD; the times are at /probes/<session> afterwards."""
    times_ms: list[float] = []
    for number in range(tokens):
        began = time.perf_counter()
        await context["redis"].xadd(
            f"stream:{session}", {"data": json.dumps({"type": "text.delta", "text": f"w{number} "})}
        )
        times_ms.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(interval_ms / 1000)
    await context["redis"].set(f"probe:{session}", json.dumps(times_ms))


class WorkerSettings:
    """Of `arq bench.peers.stock_arq.WorkerSettings`; what is not here is arq's default."""

    functions: ClassVar = [generate, probe]
    redis_settings = RedisSettings.from_dsn(REDIS_URL)
    max_jobs = int(os.environ.get("MAX_JOBS", "10"))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.redis = redis.asyncio.Redis.from_url(REDIS_URL, decode_responses=True)
    app.state.queue = await create_pool(RedisSettings.from_dsn(REDIS_URL))
    yield
    await app.state.queue.aclose()
    await app.state.redis.aclose()


app = FastAPI(lifespan=lifespan)
app.get("/events/{session}")(events)


@app.post("/jobs/{session}", status_code=202)
async def enqueue(
    request: Request, session: str, tokens: int = 100, interval_ms: float = 20, function: str = "generate"
) -> dict[str, str]:
    await request.app.state.queue.enqueue_job(function, session, tokens, interval_ms)
    return {"session": session}


@app.get("/probes/{session}")
async def times(request: Request, session: str) -> list[float]:
    found: list[float] = json.loads(await request.app.state.redis.get(f"probe:{session}") or "[]")
    return found
