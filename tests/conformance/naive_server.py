"""What tutorials teach: FastAPI enqueues into arq, a worker writes a Redis Stream, an endpoint tails it with XREAD.

    uvicorn tests.conformance.naive_server:app        arq tests.conformance.naive_server.WorkerSettings

Ideas, no code, from what is published on "resumable streaming" with these parts: an id on every event that is the
stream's own, resuming by handing Last-Event-ID to XREAD, replay and tail in one loop, comments as keep-alive, the
headers against buffering, an end marker written in `finally`. They are in "Resumable LLM Stream", a template on GitHub,
in "Canvas Streaming and Resume: Redis Streams as the Event Bus" (AskTable's blog, 2026, with arq), and in "5-Minute AI
Jobs and Closed Tabs" (dev.to, 2026). Where they differ, the better choice is taken: the job runs in a worker, not in
the request; a late viewer gets everything; cancelling works, by arq's own abort.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar
from uuid import uuid4

import redis.asyncio
from arq import create_pool
from arq.connections import RedisSettings
from arq.jobs import Job
from fastapi import FastAPI, Header
from fastapi.responses import StreamingResponse

REDIS_URL = os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")
KEEP_ALIVE_S = 3.0
HEADERS = {"Cache-Control": "no-cache", "Connection": "keep-alive", "X-Accel-Buffering": "no"}


# The worker.


async def generate(context: dict[str, Any], job_id: str, tokens: int, interval_ms: float) -> None:
    """Write every token to the stream as it comes, and an end marker whatever happens."""
    stream = f"stream:{job_id}"
    try:
        for number in range(tokens):
            await context["redis"].xadd(stream, {"data": json.dumps({"type": "token", "text": f"w{number} "})})
            await asyncio.sleep(interval_ms / 1000)
    finally:
        await context["redis"].xadd(stream, {"data": json.dumps({"type": "done"})})
        await context["redis"].expire(stream, 3600)


class WorkerSettings:
    functions: ClassVar = [generate]
    redis_settings = RedisSettings.from_dsn(REDIS_URL)
    allow_abort_jobs = True
    job_timeout = int(os.environ.get("JOB_TIMEOUT", "300"))  # arq's default


# The web server.


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.redis = redis.asyncio.Redis.from_url(REDIS_URL, decode_responses=True)
    app.state.queue = await create_pool(RedisSettings.from_dsn(REDIS_URL))
    yield
    await app.state.queue.aclose()
    await app.state.redis.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/jobs", status_code=202)
async def start(tokens: int = 100, interval_ms: float = 20) -> dict[str, str]:
    job_id = uuid4().hex
    await app.state.queue.enqueue_job("generate", job_id, tokens, interval_ms, _job_id=job_id)
    return {"job_id": job_id}


@app.post("/jobs/{job_id}/cancel", status_code=202)
async def cancel(job_id: str) -> dict[str, bool]:
    return {"cancelled": await Job(job_id, app.state.queue).abort()}


@app.get("/jobs/{job_id}/events")
async def events(job_id: str, last_event_id: Annotated[str | None, Header()] = None) -> StreamingResponse:
    return StreamingResponse(tail(job_id, last_event_id or "0"), media_type="text/event-stream", headers=HEADERS)


async def tail(job_id: str, last_id: str) -> AsyncIterator[str]:
    """Everything behind the id, then what comes, until the end marker."""
    spoke_s = time.monotonic()
    while True:
        for _, entries in await app.state.redis.xread({f"stream:{job_id}": last_id}, block=1000):
            for entry_id, fields in entries:
                last_id = entry_id
                yield f"id: {entry_id}\ndata: {fields['data']}\n\n"
                if json.loads(fields["data"])["type"] == "done":
                    return
            spoke_s = time.monotonic()
        if time.monotonic() - spoke_s > KEEP_ALIVE_S:
            yield ": keep-alive\n\n"
            spoke_s = time.monotonic()
