"""What clients of a gateway and operators see of encryption at rest: a key that is gone, one that is missing, the
command."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from click.testing import CliRunner, Result
from holdfast.shared.data_keys import DataKeys
from holdfast.shared.keys import DATA_KEYS

from holdfast.__main__ import cli
from tests.support.log import Session, completed
from tests.support.sealed import master_key, master_keys, sealed_logs
from tests.support.served import Served, served
from tests.support.sse import SseStream

SESSION = "/v1/sessions/s"
READS = (SESSION, f"{SESSION}/jobs", f"{SESSION}/jobs/j1", f"{SESSION}/events", f"{SESSION}/jobs/j1/events")


@pytest.fixture
async def session(redis_url: str) -> AsyncIterator[Session]:
    """A session whose job has ended, encrypted with the master key m1."""
    session = Session(sealed_logs(redis_url, "m1"))
    await session.submit(input=b'{"messages":[{"role":"user","content":"hello"}]}')
    attempt = await session.claim()
    message = b'{"role":"user","content":"hello","job_id":"j1"}'
    await session.log_writer.finish("s", attempt.epoch, 1, completed("j1"), messages=[message], usage=b"")
    yield session
    await session.aclose()


async def forget(session: Session) -> None:
    assert await DataKeys(session.redis, {"m1": master_key("m1")}).forget("")


async def submitted(gateway: Served) -> int:
    await gateway.offer("scripted")
    return (await gateway.client.post(f"{SESSION}/jobs", json={"agent": "scripted", "input": "x"})).status_code


async def test_what_is_encrypted_is_served(redis_url: str, session: Session) -> None:
    async with served(redis_url, encryption_keys=master_keys("m1")) as gateway:
        for path in READS[:3]:
            assert (await gateway.client.get(path)).status_code == 200
        assert "hello" in (await gateway.client.get(f"{SESSION}/messages")).text


async def test_a_session_whose_key_is_gone_is_refused_for_good_and_can_be_deleted(
    redis_url: str, session: Session
) -> None:
    await forget(session)
    async with served(redis_url, encryption_keys=master_keys("m1")) as gateway:
        for path in READS:
            answer = await gateway.client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (410, "data_key_gone"), path
        assert (await gateway.client.delete(SESSION)).status_code == 202


async def test_a_session_whose_key_is_gone_is_left_out_of_the_list(redis_url: str) -> None:
    async with served(redis_url, encryption_keys=master_keys("m1")) as gateway:
        assert await submitted(gateway) == 202
        assert len((await gateway.client.get("/v1/sessions")).json()["sessions"]) == 1
        await gateway.redis.delete(DATA_KEYS)
    async with served(redis_url, encryption_keys=master_keys("m1")) as gateway:
        assert (await gateway.client.get("/v1/sessions")).json()["sessions"] == []


@pytest.mark.parametrize("keys", ["", master_keys("m2")], ids=["off", "another key"])
async def test_a_gateway_without_the_master_key_leaves_what_is_encrypted_to_others(
    redis_url: str, session: Session, keys: str
) -> None:
    async with served(redis_url, encryption_keys=keys or None) as gateway:
        for path in READS[:3]:
            answer = await gateway.client.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "master_key_missing"), path
            assert answer.headers["retry-after"] == "2"
        async with SseStream(f"{gateway.url}{SESSION}/events") as stream:
            assert [frame.data async for frame in stream if frame.data] == []


async def test_a_job_that_cannot_be_encrypted_is_not_accepted(redis_url: str, session: Session) -> None:
    async with served(redis_url, encryption_keys=master_keys("m2")) as gateway:
        assert await submitted(gateway) == 503
        assert await gateway.redis.hlen("holdfast:queue:tokens") == 0


class TestCommand:
    async def run(self, redis_url: str, *arguments: str, keys: str = "m1", text: str | None = None) -> Result:
        variables = {"HOLDFAST_REDIS_URL": redis_url, "HOLDFAST_ENCRYPTION_KEYS": master_keys(*keys.split())}
        call = CliRunner().invoke
        return await asyncio.to_thread(call, cli, ["data-keys", *arguments], env=variables, input=text)

    async def test_it_lists_and_renews(self, redis_url: str, session: Session) -> None:
        assert (await self.run(redis_url, "list")).output == "(no tenant): m1\n"
        assert (await self.run(redis_url, "rotate")).output == "tenants: 1\n"
        assert (await self.run(redis_url, "rewrap", keys="m2 m1")).output == "tenants: 1\n"
        assert (await self.run(redis_url, "list")).output == "(no tenant): m2, m2\n"

    @pytest.mark.parametrize(("answer", "left"), [("n\n", 1), ("y\n", 0)])
    async def test_it_forgets_after_a_question(self, redis_url: str, session: Session, answer: str, left: int) -> None:
        await self.run(redis_url, "forget", "--tenant", "", text=answer)
        assert await session.redis.exists(DATA_KEYS) == left
