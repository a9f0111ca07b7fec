"""At `maxmemory` Redis refuses writes and all commands in a transaction. Reads work nevertheless."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from holdfast.shared import keys
from holdfast.shared.queue import entry_id

from tests.support.log import Session
from tests.support.served import Served, served
from tests.support.sse import SseStream
from tests.support.streams import frames_until

READS = ["", "/jobs", "/jobs/j1", "/jobs/j2", "/messages"]


@pytest.fixture
async def full(redis_url: str, session: Session) -> AsyncIterator[Served]:
    """A gateway with a full Redis, which holds a job that has ended and one that runs."""
    ended = await session.started("j1")
    await session.append(ended, 1, "a", "b")
    await session.finish(ended, 3)
    await session.append(await session.started("j2"), 1, "c")
    async with served(redis_url) as gateway:
        assert (await gateway.client.get("/readyz")).status_code == 200
        await gateway.redis.config_set("maxmemory", 1)
        try:
            yield gateway
        finally:
            await gateway.redis.config_set("maxmemory", 0)


@pytest.mark.parametrize("path", READS)
async def test_states_lists_and_the_conversation_are_answered(full: Served, path: str) -> None:
    answer = await full.client.get(f"/v1/sessions/s{path}")
    assert answer.status_code == 200, answer.text
    if path == "/messages":
        assert [message["content"] for message in answer.json()["messages"]] == ["hello", "c"]


@pytest.mark.parametrize(("job_id", "last"), [("j1", "job.completed"), ("j2", "text.delta")])
async def test_the_stream_of_a_job_is_served(full: Served, job_id: str, last: str) -> None:
    async with SseStream(f"{full.url}/v1/sessions/s/jobs/{job_id}/events") as stream:
        frames = await frames_until(stream, lambda frame: bool(frame.json["type"] == last))
    assert frames[0].json["type"] == "job.started"


async def test_no_read_uses_a_transaction(full: Served) -> None:
    """Not every server of the Redis family refuses it; none may see it."""
    await full.redis.config_resetstat()
    for path in READS:
        await full.client.get(f"/v1/sessions/s{path}")
    seen = await full.redis.info("commandstats")
    assert "cmdstat_multi" not in seen
    assert "cmdstat_evalsha" in seen


async def test_readiness_says_that_redis_is_full(full: Served) -> None:
    answer = await full.client.get("/readyz")
    assert answer.status_code == 503
    assert [reason.partition(" bytes")[0].rpartition(" ")[0] for reason in answer.json()["reasons"]] == [
        "queue redis: is full:",
        "log redis: is full:",
    ]


async def test_a_cancel_leaves_its_control_entry_and_its_message(full: Served) -> None:
    answer = await full.client.post("/v1/sessions/s/jobs/j2/cancel")
    assert answer.status_code == 202
    assert await full.redis.hexists(keys.ENTRIES, entry_id("s", None))
    assert await full.redis.lrange(f"{keys.MAILBOX}w1", 0, -1) == [b"s"]
