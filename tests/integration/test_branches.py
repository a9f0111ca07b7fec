"""Jobs that follow another than the newest one: what their agents read, and what a reader is shown."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable
from typing import Any

import orjson
import pytest
from holdfast.shared.errors import JobUnknown
from holdfast.shared.keys import ENTRIES, session_keys
from holdfast.shared.schema import SCHEMA
from holdfast.worker import Run

from tests.support.log import Session, completed, request, said
from tests.support.sealed import sealed_logs
from tests.support.served import Served, served
from tests.support.workers import Client, worker_on


def message(job_id: str, role: str = "user") -> bytes:
    return orjson.dumps({"role": role, "content": f"{role} of {job_id}", "job_id": job_id})


async def ends(session: Session, job_id: str, delivery: int = 1) -> list[str]:
    """Run a job that is at the head. Returns the jobs of which its agent has read messages."""
    attempt = await session.claim(job_id, delivery=delivery)
    read = await jobs_read(session, job_id)
    messages = [message(job_id), message(job_id, "assistant")]
    await session.log_writer.finish("s", attempt.epoch, 1, completed(job_id), messages=messages, usage=b"")
    return read


async def jobs_read(session: Session, job_id: str) -> list[str]:
    history = await session.sessions.history(session.id, job_id)
    return [message["job_id"] for message in history if message["role"] == "user"]


async def ran(session: Session, job_id: str, **terms: Any) -> list[str]:
    await session.submit(job_id, **terms)
    return await ends(session, job_id)


async def after(session: Session, job_id: str) -> str | None:
    return (await session.sessions.job("s", job_id)).after


async def commands(session: Session, call: Awaitable[object], name: str = r"\w+") -> int:
    """How many commands the server runs for a call, of this name."""
    await session.redis.call("CONFIG", "RESETSTAT")
    await call
    stats = await session.redis.call("INFO", "commandstats")
    calls = re.findall(rf"cmdstat_{name}:calls=(\d+)", stats if isinstance(stats, str) else stats.decode())
    return sum(map(int, calls))


async def repeats(run: Run) -> None:
    """Say everything that the agent reads."""
    await run.text(",".join([*(message["content"] for message in run.history), str(run.input)]))


async def shown(session: Session) -> list[str]:
    return [message["job_id"] for message in await said(session.sessions) if message["role"] == "user"]


class TestHistory:
    async def test_a_job_reads_the_path_to_the_job_that_it_follows(self, session: Session) -> None:
        assert await ran(session, "a") == []
        assert await ran(session, "b") == ["a"]
        assert await ran(session, "c") == ["a", "b"]
        assert await ran(session, "b2", after="a") == ["a"]
        assert await ran(session, "c2") == ["a", "b2"]
        assert await shown(session) == ["a", "b2", "c2"]
        assert await ran(session, "d", after="c") == ["a", "b", "c"]
        assert await shown(session) == ["a", "b", "c", "d"]
        assert await ran(session, "n", after="") == []
        assert await ran(session, "m") == ["n"]
        assert await shown(session) == ["n", "m"]

    async def test_a_job_that_follows_none_in_a_new_session_starts_it(self, session: Session) -> None:
        assert await ran(session, "a", after="") == []
        assert await ran(session, "b", after="a") == ["a"]
        assert await session.redis.hget(session.keys.state, "branched") is None, "nothing has to be selected"

    async def test_the_job_to_follow_must_be_one_of_the_session(self, session: Session) -> None:
        await session.sessions.submit("other", "x", request())
        with pytest.raises(JobUnknown):
            await session.submit("a", after="x")
        assert await session.redis.exists(session.keys.state) == 0

    async def test_a_waiting_job_is_followed_once_it_has_ended(self, session: Session) -> None:
        await session.submit("a")
        await session.submit("b")
        await session.submit("c", after="a")
        await session.submit("d", after="b")
        assert await shown(session) == []
        assert [await ends(session, job) for job in "abcd"] == [[], ["a"], ["a"], ["a", "b"]]
        assert await shown(session) == ["a", "b", "d"]

    async def test_an_interrupting_job_runs_behind_the_waiting_one_that_it_follows(self, session: Session) -> None:
        first = await session.started("a")
        for job in "bc":
            await session.submit(job)
        submitted = await session.submit("d", after="b", on_busy="interrupt")
        assert (submitted.position, submitted.notify) == (2, "w1")
        assert (await session.log_writer.intents("s", first.epoch)).cancel == {"a": "interrupt"}
        await session.log_writer.finish("s", first.epoch, 1, completed("a"), messages=[message("a")], usage=b"")
        assert [await ends(session, job) for job in "bdc"] == [["a"], ["a", "b"], ["a", "b", "d"]]

    async def test_a_job_that_names_none_follows_the_one_that_ran_before_it(self, session: Session) -> None:
        """Also where an interrupting job was accepted later, and has overtaken it."""
        first = await session.started("a")
        await session.submit("b")
        await session.submit("c", on_busy="interrupt")
        assert [await after(session, job) for job in "abc"] == [None, "c", "a"]
        await session.log_writer.finish("s", first.epoch, 1, completed("a"), messages=[message("a")], usage=b"")
        assert [await ends(session, job) for job in "cb"] == [["a"], ["a", "c"]]
        assert [await after(session, job) for job in "abc"] == [None, "c", "a"]
        await session.submit("d", after="a")
        assert await ends(session, "d") == ["a"]
        assert await ran(session, "e", after="b") == ["a", "c", "b"]

    async def test_the_turn_of_a_cancelled_job_stays_on_its_path(self, session: Session) -> None:
        await ran(session, "a")
        attempt = await session.started("b")
        await session.append(attempt, 1, "begun")
        await session.sessions.cancel("s", "b")
        await session.log_writer.release("s", attempt.epoch)
        assert (await session.log_writer.settle("s")).ended == ["b"]
        assert await ran(session, "c", after="b") == ["a", "b"]

    async def test_a_job_that_was_cancelled_before_it_ran_adds_nothing(self, session: Session) -> None:
        await ran(session, "a")
        await session.submit("b")
        await session.sessions.cancel("s", "b")
        assert (await session.log_writer.settle("s")).ended == ["b"]
        assert await ran(session, "c", after="b") == ["a"]
        assert await ran(session, "d") == ["a", "c"]

    async def test_the_first_job_follows_none_that_was_cancelled_before_it(self, session: Session) -> None:
        await session.submit("a")
        await session.submit("b", after="a")
        await session.sessions.cancel("s", "b")
        assert (await session.log_writer.settle("s")).ended == ["b"]
        assert await ends(session, "a") == []
        assert (await after(session, "a"), await after(session, "b")) == (None, "a")

    async def test_a_takeover_reads_the_same_path(self, session: Session) -> None:
        await ran(session, "a")
        await ran(session, "b")
        await session.submit("c", after="a")
        first = await session.claim("c")
        second = await session.claim("c", delivery=2)
        assert (first.after, second.after) == ("a", "a")
        assert await jobs_read(session, "c") == ["a"]
        entries = [next(iter(values.items())) for _, values in await session.redis.xrange(session.keys.log)]
        starts = [orjson.loads(body)["after"] for name, body in entries if name.endswith(b" job.started")]
        assert starts == [None, "a", "a", "a"]

    async def test_the_path_ends_where_the_record_of_a_job_was_deleted(
        self, session: Session, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("holdfast.shared.sessions.RECORDS_LIMIT", 4)
        for job in "abc":
            await ran(session, job)
        await ran(session, "c2", after="b")
        assert await ran(session, "d") == ["a", "b", "c2"], "the child of a deleted record names it"
        assert await ran(session, "e") == ["b", "c2", "d"]

    async def test_the_path_of_a_long_session_is_read_in_linear_time(self, session: Session) -> None:
        count = 300
        for number in range(count):
            await session.redis.hset(session.keys.jobs, f"j{number}:end", "1-1")
        await session.redis.rpush(session.keys.order, *(f"j{number}" for number in range(count)))
        for number in range(1, count):
            await session.redis.hset(session.keys.jobs, f"j{number}:after", f"j{number - 1}")
        await session.redis.hset(session.keys.state, "branched", "1")
        calls = [await commands(session, session.sessions.history("s", job)) for job in ("j99", "j299")]
        assert calls[1] - calls[0] < 3 * 200

    async def test_the_path_over_waiting_jobs_searches_the_backlog_for_none_of_them(self, session: Session) -> None:
        await ran(session, "a")
        await ran(session, "b")
        await ran(session, "c", after="a")
        for number in range(60):
            await session.submit(f"w{number}")
        assert await jobs_read(session, "w59") == ["a", "c"]
        searches = [await commands(session, session.sessions.history("s", job), "lpos") for job in ("w0", "w59")]
        assert searches[0] == searches[1]

    @pytest.mark.parametrize("how", ["retry", "edit"])
    async def test_a_job_behind_a_deleted_record_is_repeated_and_edited_as_the_first_one(
        self, session: Session, redis_url: str, monkeypatch: pytest.MonkeyPatch, how: str
    ) -> None:
        monkeypatch.setattr("holdfast.shared.sessions.RECORDS_LIMIT", 3)
        for job in "abcd":
            await ran(session, job)
        assert [await after(session, job) for job in "bcd"] == [None, "b", "c"]
        async with served(redis_url) as gateway:
            await gateway.offer("scripted")
            jobs = "/v1/sessions/s/jobs"
            edit = {"agent": "scripted", "input": "x", "after": await after(session, "b")}
            path, body = (f"{jobs}/b/retry", None) if how == "retry" else (jobs, edit)
            posted = await gateway.client.post(path, json=body)
            assert posted.status_code == 202, posted.text


class TestReaders:
    async def test_messages_of_a_branch_are_those_on_the_path_to_the_newest_job(self, session: Session) -> None:
        await ran(session, "a")
        running = await session.started("b")
        await session.append(running, 1, "to be left")
        assert (await session.sessions.messages("s")).running is not None
        await session.submit("c", after="a")
        conversation = await session.sessions.messages("s")
        assert conversation.running is None, "the running job is not on the path to the newest one"
        assert await shown(session) == ["a"]
        await session.finish(running, 2)
        await session.claim("c")
        conversation = await session.sessions.messages("s")
        assert conversation.running is not None
        assert conversation.running.job_id == "c"
        assert await shown(session) == ["a", "c"]

    async def test_recent_messages_are_those_of_the_path_however_many_others_are_newer(self, session: Session) -> None:
        await ran(session, "a")
        for number in range(30):
            await ran(session, f"b{number}", after="a")
        await ran(session, "c", after="b0")
        recent = await session.sessions.recent("s", "c", 4, 10_000)
        assert [orjson.loads(one)["job_id"] for one in recent.earlier] == ["b0", "b0"]
        assert [orjson.loads(one)["job_id"] for one in recent.own] == ["c", "c"]
        recent = await session.sessions.recent("s", "b0", 6, 10_000)
        assert [orjson.loads(one)["job_id"] for one in recent.earlier] == ["a", "a"]

    async def test_an_encrypted_conversation_branches(self, redis_url: str) -> None:
        session = Session(sealed_logs(redis_url, "m1"))
        for job, terms in (("a", {}), ("b", {}), ("b2", {"after": "a"})):
            await session.submit(job, input=b'"hi"', **terms)
            attempt = await session.claim(job)
            await session.log_writer.finish("s", attempt.epoch, 1, completed(job), messages=[message(job)], usage=b"")
        assert await shown(session) == ["a", "b2"]
        await session.aclose()


class TestOlder:
    """Workers and gateways of schema 1 do not record what a job follows."""

    async def test_their_jobs_follow_each_other_in_the_order_of_acceptance(self, session: Session) -> None:
        for job in "abc":
            await ran(session, job)
        keys = session_keys("s")
        await session.redis.hdel(keys.jobs, *(f"{job}:after" for job in "abc"))
        await session.redis.hdel(keys.state, "last")
        assert [await after(session, job) for job in "abc"] == [None, "a", "b"]
        assert await shown(session) == ["a", "b", "c"]
        assert await ran(session, "d") == ["a", "b", "c"]
        assert await ran(session, "b2", after="b") == ["a", "b"]
        assert await ran(session, "e", after="d") == ["a", "b", "c", "d"]

    async def test_the_ends_of_many_jobs_search_once_for_the_last_one_that_ran(self, session: Session) -> None:
        await ran(session, "a")
        begun = await session.started("b")
        keys = session_keys("s")
        await session.redis.hdel(keys.jobs, "a:after", "b:after")
        await session.redis.hdel(keys.state, "last")
        waiting = [f"w{number}" for number in range(50)]
        for job in waiting:
            await session.submit(job)
        for job in ("b", *waiting):
            await session.sessions.cancel("s", job)
        await session.log_writer.release("s", begun.epoch)
        assert await commands(session, session.log_writer.settle("s"), "lindex") < 2 * 52
        assert {await after(session, job) for job in waiting} == {"b"}

    async def test_a_session_in_which_a_job_names_another_is_left_to_newer_workers(self, session: Session) -> None:
        await session.submit("a")
        assert await session.redis.hget(session.keys.state, "schema") is None
        await session.submit("b", after="a")
        assert await session.redis.hget(session.keys.state, "schema") == str(SCHEMA).encode()


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        await gateway.offer("repeats")
        yield gateway


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


class TestApi:
    async def test_a_job_names_the_one_that_it_follows(self, gateway: Served, client: Client, redis_url: str) -> None:
        async with worker_on(redis_url, [repeats]):
            a = await self.ends(gateway, client, "A")
            b = await self.ends(gateway, client, "B")
            c = await self.ends(gateway, client, "C", after=a)
            d = await self.ends(gateway, client, "D", after=None)
            again = (await gateway.client.post(f"/v1/sessions/s/jobs/{b}/retry")).json()["job_id"]
            await client.end("s", again)
            texts = [await client.said("s", job) for job in (a, b, c, d, again)]
        answers = {job: (await gateway.client.get(f"/v1/sessions/s/jobs/{job}")).json() for job in (a, b, c, d, again)}
        assert texts == ["A", "A,A,B", "A,A,C", "D", "A,A,B"]
        assert [job["after"] for job in answers.values()] == [None, a, a, None, a]
        listed = (await gateway.client.get("/v1/sessions/s/jobs")).json()["jobs"]
        assert [job["after"] for job in listed] == [a, None, a, a, None]
        messages = (await gateway.client.get("/v1/sessions/s/messages")).json()["messages"]
        assert [message["content"] for message in messages] == ["A", "A", "B", "A,A,B"]

    @staticmethod
    async def ends(gateway: Served, client: Client, text: str, **terms: Any) -> str:
        body = {"agent": "repeats", "input": text, **terms}
        job_id = (await gateway.client.post("/v1/sessions/s/jobs", json=body)).json()["job_id"]
        await client.end("s", job_id)
        return str(job_id)

    @pytest.mark.parametrize("name", ["unknown", "not an id", "", "a" * 65])
    async def test_an_unknown_job_cannot_be_followed(self, gateway: Served, name: str) -> None:
        for path in ("/v1/jobs", "/v1/sessions/s/jobs"):
            refused = await gateway.client.post(path, json={"agent": "repeats", "input": "x", "after": name})
            assert (refused.status_code, refused.json()["code"]) == (404, "job_unknown")
        assert await gateway.redis.hlen(ENTRIES) == 0

    async def test_a_key_belongs_to_one_job_to_follow(self, gateway: Served) -> None:
        async def post(**terms: Any) -> int:
            body = {"agent": "repeats", "input": "x", **terms}
            answer = await gateway.client.post("/v1/sessions/s/jobs", json=body, headers={"Idempotency-Key": "k"})
            return answer.status_code

        assert [await post(after=None), await post(after=None), await post()] == [202, 202, 422]
