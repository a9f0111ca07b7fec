"""What other versions have written: an older one is read, a newer one is refused and left to whoever knows it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest
from holdfast.shared import keys
from holdfast.shared.errors import SchemaNewer
from holdfast.shared.log.log_replies import Attempt, Event
from holdfast.shared.schema import SCHEMA
from holdfast.worker import Run
from holdfast.worker.attempt.isolated_attempt import attempt_of

from tests.support.golden import restore
from tests.support.job_viewer import JobViewer
from tests.support.log import Session
from tests.support.process import ROOT, Process, Processes, until
from tests.support.served import Served, served
from tests.support.sse import SseStream
from tests.support.workers import Client, worker_on

NEWER = SCHEMA + 1


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        yield gateway


def test_the_scripts_know_the_same_version() -> None:
    assert f"local SCHEMA = {SCHEMA} " in (ROOT / "shared" / "scripts" / "session" / "prelude.lua").read_text()


class TestOlder:
    """The golden file is what commit 2d4de90 has left in Redis, see tests.support.golden."""

    @pytest.fixture(autouse=True)
    async def _golden(self, client: Client) -> None:
        await restore(client.redis, json.loads((ROOT / "tests" / "data" / "schema-0.json").read_text()))

    async def test_sessions_jobs_and_conversations_are_read(self, gateway: Served) -> None:
        get = gateway.client.get
        jobs = (await get("/v1/sessions/done/jobs")).json()["jobs"]
        assert {(job["job_id"], job["status"]) for job in jobs} == {("j1", "completed"), ("j2", "failed")}
        job = (await get("/v1/sessions/done/jobs/j1")).json()
        assert job["usage"] == {"input_tokens": 10, "output_tokens": 5, "model": "m"}
        messages = (await get("/v1/sessions/done/messages")).json()["messages"]
        assert [message["content"] for message in messages] == [
            "hi", "", '["found"]', "From a helper. ", "To Rome. ", "hi", "So far ",
        ]  # fmt: skip
        begun = (await get("/v1/sessions/begun/messages")).json()["messages"]
        assert [message["content"] for message in begun] == ["hi", "Attempt 2: 0 1 2 "]
        assert (await get("/v1/sessions/asked/jobs/j1")).json()["status"] == "waiting"
        assert [(await get(f"/v1/sessions/queued/jobs/j{n}")).json()["position"] for n in (1, 2)] == [0, 1]

    async def test_streams_of_ended_jobs_are_replayed_whole(self, gateway: Served) -> None:
        viewer = JobViewer([gateway.url], "/v1/sessions/done/jobs/j1/events")
        await asyncio.wait_for(viewer.watch(cut_after=(1, 2, 3)), 30)
        assert viewer.kinds == [
            "job.started", "status", "section.started", "tool.started", "tool.called", "tool.result", "section.ended",
            "text.delta", "question.asked", "question.answered", "text.delta", "usage", "job.completed",
        ]  # fmt: skip
        assert viewer.said == "From a helper. To Rome. "

    @pytest.mark.parametrize("raw", [False, True])
    async def test_a_stream_leaves_out_what_an_older_worker_discarded(self, gateway: Served, raw: bool) -> None:
        texts = []
        async with SseStream(f"{gateway.url}/v1/sessions/begun/events?raw={raw}".lower()) as stream:
            async for frame in stream:
                texts += [frame.json["text"]] if "text" in frame.json else []
                if texts and texts[-1].endswith("2 ") and (not raw or len(texts) == 8):
                    break
        attempts = ["Attempt 1: ", "0 ", "1 ", "2 ", "Attempt 2: ", "0 ", "1 ", "2 "]
        assert texts == attempts if raw else "".join(texts).endswith("Attempt 2: 0 1 2 ")

    async def test_jobs_go_on_where_an_older_worker_left_them(self, redis_url: str, client: Client) -> None:
        async def begins(run: Run) -> None:
            await run.text(f"Attempt {run.attempt}.")

        async def pays(run: Run) -> None:
            await run.text("Paying. ")
            paid = await run.step("pay", run.fallback, 5)
            await run.text(f"Paid {paid}.")

        async def asks(run: Run) -> None:
            await run.text(f"To {await run.ask('Which city?')}.")

        async def waits(run: Run) -> None:
            await run.text("Waited.")

        async with worker_on(redis_url, [begins, pays, asks, waits]):
            for session, job, said in (
                ("begun", "j1", "Attempt 3."),
                ("steps", "j1", "Paying. Paid 5 €."),
                ("queued", "j1", "Waited."),
                ("queued", "j2", "Waited."),
            ):
                assert (await client.end(session, job))["type"] == "job.completed"
                assert await client.said(session, job) == said
            answered = await client.sessions.answer("asked", "j1", None, b'"Rome"')
            await client.queue.make_ready("asked", "j1", answered.agent)
            await client.end("asked")
            assert await client.said("asked") == "To Rome."
        first = (await client.job("steps")).first
        starts = [event for event in await client.events("steps") if event["type"] == "job.started"]
        assert [event.get("discard_from") for event in starts] == [None, str(first)]
        assert {discard.first for discard in await client.log.discards("begun")} == {(await client.job("begun")).first}


class TestMixed:
    """Workers of both versions take turns at a job, as while they are replaced one by one."""

    async def test_an_attempt_of_an_older_worker_discards_what_was_kept_and_the_next_one_knows(
        self, session: Session
    ) -> None:
        first = await session.started()
        await session.append(first, 1, "a", "b")
        await session.record(first, resume=3)
        older = await self.claimed_by_schema_0(session)
        third = await session.claim(delivery=3)
        assert third.discard_from == third.first == first.first
        discards = await session.log.discards("s", "j1")
        assert [(discard.first, discard.started.epoch) for discard in discards] == [(first.first, third.epoch)]
        assert older < third.epoch

    async def test_a_gateway_knows_what_an_older_worker_discarded_after_a_newer_one(self, session: Session) -> None:
        first = await session.started()
        await session.append(first, 1, "a", "b")
        await session.record(first, resume=3)
        second = await session.claim(delivery=2)
        assert second.discard_from == first.first._replace(seq=3)  # type: ignore[union-attr]
        older = await self.claimed_by_schema_0(session)
        discards = [(discard.first.seq, discard.started.epoch) for discard in await session.log.discards("s", "j1")]
        assert sorted(discards) == [(1, older), (3, second.epoch)]

    @staticmethod
    async def claimed_by_schema_0(session: Session) -> int:
        """Do what claim.lua of schema 0 did to the record. Answers the epoch."""
        state = session.keys.state
        epoch = int(await session.redis.hget(state, "epoch")) + 10
        number = int(await session.redis.hget(session.keys.jobs, "j1:attempt")) + 1
        fields = {"j1:attempt": number, "j1:delivery": number, "j1:started": f"{epoch}-1"}
        await session.redis.call("HSET", session.keys.jobs, *(part for pair in fields.items() for part in pair))
        first = await session.redis.hget(session.keys.jobs, "j1:first")
        top = (await session.redis.xrevrange(session.keys.log, count=1))[0][0]
        body = orjson.dumps({"type": "job.started", "job_id": "j1", "discard_from": first.decode()})
        await session.redis.call("XADD", session.keys.log, f"{epoch}-1", "j1 job.started", body, "p", top)
        await session.redis.call("HSET", state, "epoch", epoch, "top", f"{epoch}-1", "token", "older")
        return epoch


async def begin_newer_epoch(session: Session, attempt: Attempt) -> None:
    """What a newer worker would do: take the session over in an epoch of its own version."""
    top = (await session.redis.xrevrange(session.keys.log, count=1))[0][0]
    entry = f"{attempt.epoch + 5}-1"
    body = b'{"type":"job.started","job_id":"j1","in":"a form of its own"}'
    await session.redis.call("XADD", session.keys.log, entry, "j1 job.started", body, "p", top, "v", NEWER)
    await session.redis.call("HSET", session.keys.state, "epoch", attempt.epoch + 5, "schema", NEWER)


class TestNewer:
    async def test_an_epoch_and_a_session_say_their_version(self, session: Session) -> None:
        attempt = await session.started()
        [(_, fields)] = await session.redis.xrange(session.keys.log)
        assert fields[b"v"] == b"%d" % SCHEMA
        assert await session.redis.hget(session.keys.state, "schema") == b"%d" % SCHEMA
        await session.append(attempt, 1, "a")
        _, (_, fields) = await session.redis.xrange(session.keys.log)
        assert list(fields) == [b"j1 text.delta"]

    async def test_what_stands_before_a_newer_epoch_is_sent_and_the_viewer_is_sent_elsewhere(
        self, gateway: Served, session: Session
    ) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "a", "b")
        url = f"{gateway.url}/v1/sessions/s/events?raw=true"
        frames = []
        async with asyncio.timeout(20), SseStream(url) as live:
            async for frame in live:
                frames.append(frame)
                if len(frames) == 3:
                    await begin_newer_epoch(session, attempt)
        assert [frame.json["type"] for frame in frames] == ["job.started", "text.delta", "text.delta"]
        assert live.status == 200
        assert (live.parser.retry_ms or 0) >= 1000
        async with SseStream(url) as later:
            assert [frame async for frame in later] == []
        assert (later.status, (later.parser.retry_ms or 0) >= 1000) == (200, True)

    async def test_a_gateway_answers_503_and_says_which_versions_it_knows(
        self, gateway: Served, session: Session
    ) -> None:
        await begin_newer_epoch(session, await session.started())
        await gateway.offer("scripted")
        client, path = gateway.client, "/v1/sessions/s"
        answers = [
            await client.get(path),
            await client.get(f"{path}/jobs/j1"),
            await client.get(f"{path}/messages"),
            await client.post(f"{path}/jobs", json={"agent": "scripted", "input": "hi"}),
            await client.post(f"{path}/jobs/j1/cancel"),
            await client.post(f"{path}/jobs/j1/answer", json={"value": 1}),
            await client.delete(path),
            await client.get(f"{path}/events", headers={"Accept": "application/x-ndjson"}),
        ]
        assert [answer.status_code for answer in answers] == [503] * len(answers)
        problem = answers[0].json()
        assert problem["code"] == "schema_newer"
        assert (
            problem["detail"] == f"The session has schema version {NEWER}; this process knows versions up to {SCHEMA}"
        )
        assert answers[0].headers["retry-after"]

    async def test_a_refused_job_leaves_no_queue_entry_whatever_key_it_has(
        self, gateway: Served, session: Session
    ) -> None:
        await session.submit(idempotency_key="k", digest="d")
        await session.redis.call("HSET", session.keys.state, "schema", NEWER)
        await gateway.offer("scripted")
        path, job = "/v1/sessions/s/jobs", {"agent": "scripted", "input": "hi"}
        for headers in ({}, {"Idempotency-Key": "k"}, {"Idempotency-Key": "other"}):
            answer = await gateway.client.post(path, json=job, headers=headers)
            assert (answer.status_code, answer.json()["code"]) == (503, "schema_newer")
        assert await session.redis.hkeys(keys.ENTRIES) == []

    async def test_neither_its_question_is_read_nor_its_record_closed(self, session: Session) -> None:
        await session.submit()
        await session.redis.call("HSET", session.keys.state, "schema", NEWER)
        with pytest.raises(SchemaNewer):
            await session.sessions.question("s", "j1")
        with pytest.raises(SchemaNewer):
            await session.log_writer.close_record("s", Event("job.failed", "j1", b"{}"))
        assert await session.redis.hget(session.keys.jobs, "j1:status") == b"queued"

    async def test_a_worker_leaves_a_newer_session_to_others(
        self, redis_url: str, client: Client, session: Session, capsys: pytest.CaptureFixture[str]
    ) -> None:
        await client.offered_agents.offer({"scripted": {}})
        await client.post("s", "j1", options={"tokens": 1})
        await session.redis.call("HSET", session.keys.state, "schema", NEWER)
        async with worker_on(redis_url):
            await self.put_back(client)
            record = await session.redis.hget(session.keys.jobs, "j1:attempt")
            assert record == b"0"
            await session.redis.call("HSET", session.keys.state, "schema", SCHEMA)
            await client.queue.make_ready("s", "j1", "scripted")
            assert (await client.end())["type"] == "job.completed"
        assert "left to other workers" in capsys.readouterr().out

    async def test_a_worker_puts_a_newer_queue_entry_back_as_it_was(
        self, redis_url: str, client: Client, capsys: pytest.CaptureFixture[str]
    ) -> None:
        await client.offered_agents.offer({"scripted": {}})
        await client.post("s", "j1", options={"tokens": 1})
        payload = await client.redis.hget(keys.ENTRIES, "s/j1")
        assert orjson.loads(payload)["k"] == {"v": SCHEMA}
        newer = payload.replace(b'{"v":%d}' % SCHEMA, b'{"v":%d,"more":1}' % NEWER)
        await client.redis.call("HSET", keys.ENTRIES, "s/j1", newer)
        async with worker_on(redis_url):
            await self.put_back(client)
            assert await client.redis.hget(keys.ENTRIES, "s/j1") == newer
            assert (await client.job()).attempt == 0
        out = capsys.readouterr().out
        assert f"The queue entry has schema version {NEWER}; this process knows versions up to {SCHEMA}" in out

    @staticmethod
    async def put_back(client: Client) -> None:
        async def deferred() -> bool:
            return await client.redis.zscore(keys.DEFERRED, "s/j1") is not None

        await until(deferred)

    async def test_a_lease_owner_that_a_newer_worker_took_over_is_fenced_as_ever(self, session: Session) -> None:
        attempt = await session.started()
        await begin_newer_epoch(session, attempt)
        for write in (session.append(attempt, 1, "late"), session.finish(attempt, 1), session.record(attempt)):
            with pytest.raises(Exception, match="Another attempt holds the session"):
                await write


class TestIsolatedAttempt:
    """The worker and the process that it starts may run different code while an installation is replaced."""

    LINE: dict[str, Any] = {  # noqa: RUF012 - read only
        "session_id": "s",
        "job_id": "j",
        "token": "t",
        "epoch": 1763683200123,
        "number": 3,
        "agent": "a",
        "input": '"hi"',
        "options": "{}",
        "metadata": "{}",
        "timeout_s": 600,
        "discard_from": None,
        "last": True,
    }

    def test_the_line_of_an_older_worker_is_read(self) -> None:
        attempt = attempt_of(orjson.dumps(self.LINE) + b"\n")
        assert (attempt.number, attempt.input, attempt.discard_from, attempt.first) == (3, b'"hi"', None, None)

    def test_the_line_of_a_newer_worker_is_refused(self) -> None:
        with pytest.raises(SchemaNewer, match="The worker has schema version"):
            attempt_of(orjson.dumps({"v": NEWER, "more": 1, **self.LINE}) + b"\n")

    @pytest.mark.parametrize("version", [SCHEMA - 1, NEWER], ids=["older", "newer"])
    async def test_a_process_of_another_version_costs_the_job_no_strike(
        self, redis_url: str, client: Client, processes: Processes, tmp_path: Path, version: int
    ) -> None:
        (tmp_path / "sitecustomize.py").write_text(OTHER_VERSION.format(version=version))
        await client.offered_agents.offer({"scripted": {}})
        await client.post()
        claimed = await client.log_writer.claim("s", "j1", delivery=1, claim_id="dead", worker_id="dead", offered=True)
        assert isinstance(claimed, Attempt)
        env = {"HOLDFAST_MAX_ATTEMPTS": "2", "HOLDFAST_LOG_FORMAT": "json", "PYTHONPATH": str(tmp_path)}
        worker: Process = processes.worker(redis_url, **env)
        await until(lambda: worker.output().count("restart the worker") > 1)  # once more: it was no strike
        assert (await client.job()).end is None


# Python runs it in each process before anything else; the isolated attempt is the one that is started with `-c`.
OTHER_VERSION = """
import sys
if "-c" in sys.orig_argv:
    import holdfast.shared.schema
    holdfast.shared.schema.SCHEMA = {version}
"""
