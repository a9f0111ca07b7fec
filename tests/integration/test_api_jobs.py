"""Accepting jobs: the contract of the 202, idempotency, and what a busy session answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from holdfast.shared import keys
from holdfast.shared.offered_agents import OfferedAgents
from holdfast.shared.queue import Queue
from holdfast.shared.redis.errors import RedisTimeoutError
from holdfast.shared.sessions import Sessions
from structlog.testing import capture_logs

from tests.support.served import Served, served

BODY: dict[str, Any] = {"agent": "scripted", "input": "tea"}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        await gateway.offer("scripted")
        yield gateway


async def post(gateway: Served, session_id: str = "s", key: str | None = None, **body: Any) -> httpx2.Response:
    headers = {} if key is None else {"Idempotency-Key": key}
    return await gateway.client.post(f"/v1/sessions/{session_id}/jobs", json=BODY | body, headers=headers)


async def test_an_accepted_job_tells_its_ids_its_place_and_where_its_events_are(gateway: Served) -> None:
    answer = await post(gateway, "tea-talk_1")
    job_id = answer.json()["job_id"]
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    assert answer.json() == {
        "job_id": job_id,
        "session_id": "tea-talk_1",
        "status": "queued",
        "position": 0,
        "cursor": "0-0",
        "events_url": f"/v1/sessions/tea-talk_1/jobs/{job_id}/events",
        "session_events_url": "/v1/sessions/tea-talk_1/events",
    }
    assert answer.headers["location"] == answer.json()["events_url"]
    assert "idempotency-replayed" not in answer.headers


async def test_a_job_is_logged_as_accepted_before_a_worker_can_start_it(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[str] = []
    make_ready = Queue.make_ready

    async def watched(self: Queue, session_id: str, job_id: str, agent: str) -> None:
        logged.extend(line["event"] for line in lines if line.get("job_id") == job_id)
        await make_ready(self, session_id, job_id, agent)

    monkeypatch.setattr(Queue, "make_ready", watched)
    with capture_logs() as lines:
        await post(gateway)
    assert logged == ["job accepted"]


async def test_further_jobs_wait_in_line(gateway: Served) -> None:
    positions = [(await post(gateway)).json()["position"] for _ in range(3)]
    assert positions == [0, 1, 2]


async def test_a_job_without_a_session_gets_one_that_cannot_be_guessed(gateway: Served) -> None:
    answers = [(await gateway.client.post("/v1/jobs", json=BODY)).json() for _ in range(2)]
    first, second = (answer["session_id"] for answer in answers)
    assert first != second
    assert len(first) >= 22
    assert (await gateway.client.get(f"/v1/sessions/{first}")).status_code == 200


async def test_the_same_key_answers_the_first_job_again(gateway: Served) -> None:
    first = await post(gateway, key="k-1")
    again = await post(gateway, key="k-1", timeout_s=600)
    assert again.status_code == 202
    assert again.headers["idempotency-replayed"] == "true"
    assert again.headers["location"] == first.headers["location"]
    assert again.json() == first.json()


async def test_the_same_key_finds_its_job_where_no_session_was_named(gateway: Served) -> None:
    headers = {"Idempotency-Key": "k-1"}
    first, again = [await gateway.client.post("/v1/jobs", json=BODY, headers=headers) for _ in range(2)]
    assert (first.json()["session_id"], first.json()["job_id"]) == (again.json()["session_id"], again.json()["job_id"])
    assert again.headers["idempotency-replayed"] == "true"


async def test_whoever_guesses_a_key_does_not_know_its_session(gateway: Served) -> None:
    """The id depends on a secret of the deployment: with another one the same key leads elsewhere."""
    headers = {"Idempotency-Key": "req-1"}
    first = (await gateway.client.post("/v1/jobs", json=BODY, headers=headers)).json()["session_id"]
    await gateway.redis.flushall()
    await gateway.offer("scripted")
    second = (await gateway.client.post("/v1/jobs", json=BODY, headers=headers)).json()["session_id"]
    assert first != second


async def test_gateways_agree_on_the_session_of_a_key_also_once_redis_has_come_back_empty(
    gateway: Served, redis_url: str
) -> None:
    headers = {"Idempotency-Key": "req-1"}
    async with served(redis_url) as other:
        for _ in range(2):
            await gateway.offer("scripted")
            posts = (each.client.post("/v1/jobs", json=BODY, headers=headers) for each in (gateway, other))
            answers = await asyncio.gather(*posts)
            assert len({(answer.json()["session_id"], answer.json()["job_id"]) for answer in answers}) == 1
            await gateway.redis.flushall()


async def test_fifty_posts_at_once_with_one_key_are_one_job(gateway: Served) -> None:
    answers = await asyncio.gather(*(post(gateway, key="k-1") for _ in range(50)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["job_id"] for answer in answers}) == 1
    assert sum("idempotency-replayed" not in answer.headers for answer in answers) == 1
    jobs = (await gateway.client.get("/v1/sessions/s/jobs")).json()["jobs"]
    assert len(jobs) == 1
    assert await Queue(gateway.redis, gateway.settings).depth() == 1


async def test_the_same_key_with_another_body_is_refused_and_leaves_no_trace(gateway: Served) -> None:
    await post(gateway, key="k-1")
    answer = await post(gateway, key="k-1", input="coffee")
    assert answer.status_code == 422
    assert answer.json()["code"] == "idempotency_mismatch"
    assert await Queue(gateway.redis, gateway.settings).depth() == 1


async def test_a_job_whose_acceptance_was_lost_on_the_way_is_the_one_that_a_repeat_finds(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The script ran and its reply was lost: the 503 names the job that it put into the line."""
    submit = Sessions.submit

    async def submit_and_lose(*arguments: Any) -> None:
        await submit(*arguments)
        raise RedisTimeoutError

    with monkeypatch.context() as patched:
        patched.setattr(Sessions, "submit", submit_and_lose)
        lost = await post(gateway, key="k-1")
    again = await post(gateway, key="k-1")
    assert (lost.status_code, again.status_code) == (503, 202)
    assert again.json()["job_id"] == lost.json()["job_id"]
    assert again.headers["idempotency-replayed"] == "true"
    assert await Queue(gateway.redis, gateway.settings).depth() == 1


async def test_a_job_is_accepted_though_the_queue_goes_away_once_the_log_has_it(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its queue entry was created before and becomes visible by itself."""

    async def away(*_: object, **__: object) -> None:
        raise RedisTimeoutError

    monkeypatch.setattr(Queue, "make_ready", away)
    assert (await post(gateway)).status_code == 202
    assert await Queue(gateway.redis, gateway.settings).depth() == 1


async def test_a_deletion_that_no_worker_heard_of_is_to_be_repeated(
    gateway: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: object, **__: object) -> None:
        raise RedisTimeoutError

    await post(gateway)
    with monkeypatch.context() as patched:
        patched.setattr(Queue, "add_control_entry", away)
        assert (await gateway.client.delete("/v1/sessions/s")).status_code == 503
    assert (await gateway.client.delete("/v1/sessions/s")).status_code == 202


async def test_one_key_in_two_sessions_is_two_jobs(gateway: Served) -> None:
    first, second = await post(gateway, "a", key="k"), await post(gateway, "b", key="k")
    assert first.json()["job_id"] != second.json()["job_id"]


async def test_a_client_that_will_not_wait_is_told_that_the_session_is_busy(gateway: Served) -> None:
    await post(gateway)
    answer = await post(gateway, on_busy="reject")
    assert (answer.status_code, answer.json()["code"]) == (409, "session_busy")
    assert await Queue(gateway.redis, gateway.settings).depth() == 1


async def test_an_interrupting_job_goes_right_behind_the_one_it_cancels(gateway: Served) -> None:
    await post(gateway)
    waiting = (await post(gateway)).json()["job_id"]
    urgent = (await post(gateway, on_busy="interrupt")).json()
    assert urgent["position"] == 1
    line = (await gateway.client.get("/v1/sessions/s")).json()["line"]
    assert line[1:] == [urgent["job_id"], waiting]


async def test_a_line_that_is_full_takes_no_more(redis_url: str) -> None:
    async with served(redis_url, session_backlog_limit=2) as gateway:
        await gateway.offer("scripted")
        answers = [await post(gateway) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        refusal = answers[2].json()
        assert (refusal["code"], refusal["detail"]) == ("queue_full", "A session may have 2 open jobs")
        assert int(answers[2].headers["retry-after"]) > 0


async def test_a_queue_that_is_full_takes_no_more(redis_url: str) -> None:
    async with served(redis_url, queue_limit=1) as gateway:
        await gateway.offer("scripted")
        answers = [await post(gateway, session_id) for session_id in "ab"]
        assert [answer.status_code for answer in answers] == [202, 429]
        refusal = answers[1].json()
        assert refusal["code"] == "queue_full"
        assert refusal["detail"] == "The deployment has as many open jobs as it may have"
        assert (await gateway.client.get("/v1/sessions/b")).status_code == 404


async def withdraw(gateway: Served) -> None:
    await gateway.redis.delete(keys.AGENTS, keys.AGENTS_SEEN)


async def offer_other_input(gateway: Served) -> None:
    await OfferedAgents(gateway.redis).offer({"scripted": {"type": "integer"}})


async def nothing(gateway: Served) -> None: ...


@pytest.mark.parametrize("limits", [{"queue_limit": 1}, {"session_backlog_limit": 1}])
@pytest.mark.parametrize("meanwhile", [nothing, withdraw, offer_other_input])
async def test_a_repeat_finds_its_job_whatever_has_become_of_queue_and_agent(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, limits: dict[str, Any], meanwhile: Callable[[Served], Any]
) -> None:
    monkeypatch.setattr("holdfast.gateway.agent_catalog.CACHE_S", 0)
    async with served(redis_url, **limits) as gateway:
        await gateway.offer("scripted")
        first = await post(gateway, key="k-1")
        assert (await post(gateway, key="k-2")).status_code == 429
        await meanwhile(gateway)
        again, other = await post(gateway, key="k-1"), await post(gateway, key="k-1", input="coffee")
        assert (again.status_code, again.json()) == (202, first.json())
        assert again.headers["idempotency-replayed"] == "true"
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
        assert await Queue(gateway.redis, gateway.settings).depth() == 1


async def test_while_no_worker_has_announced_itself_a_client_is_told_to_come_back(gateway: Served) -> None:
    await gateway.redis.flushall()
    for agent in ("scripted", "unheard-of"):  # the first one is still remembered
        answer = await post(gateway, agent=agent)
        assert (answer.status_code, answer.json()["code"]) == (503, "no_agents")
        assert int(answer.headers["retry-after"]) > 0
    await gateway.offer("scripted")
    assert (await post(gateway)).status_code == 202
    assert (await post(gateway, agent="unheard-of")).status_code == 404


@pytest.mark.parametrize("remembered", [True, False])
async def test_an_agent_lost_with_the_queue_is_not_unknown_while_only_others_are_back(
    gateway: Served, monkeypatch: pytest.MonkeyPatch, remembered: bool
) -> None:
    assert (await post(gateway)).status_code == 202
    await gateway.redis.flushall()
    await gateway.offer("other")
    if not remembered:
        monkeypatch.setattr("holdfast.gateway.agent_catalog.CACHE_S", 0)
    for _ in range(2):
        answer = await post(gateway)
        assert (answer.status_code, answer.json()["code"]) == (503, "no_agents")
    monkeypatch.setattr("holdfast.gateway.agent_catalog.REANNOUNCE_S", 0)
    for _ in range(2):
        answer = await post(gateway)
        assert (answer.status_code, answer.json()["code"]) == (404, "agent_unknown")


async def test_an_agent_that_nobody_offers_is_unknown_and_makes_no_session(gateway: Served) -> None:
    answer = await post(gateway, agent="nobody")
    assert (answer.status_code, answer.json()["code"]) == (404, "agent_unknown")
    assert (await gateway.client.get("/v1/sessions/s")).json()["code"] == "session_unknown"


async def test_the_state_of_a_job_has_every_field_of_the_contract(gateway: Served) -> None:
    job_id = (await post(gateway, metadata={"user": 7})).json()["job_id"]
    state = (await gateway.client.get(f"/v1/sessions/s/jobs/{job_id}")).json()
    created_at = state.pop("created_at")
    assert created_at > 1_700_000_000_000
    assert state == {
        "session_id": "s",
        "job_id": job_id,
        "agent": "scripted",
        "status": "queued",
        "attempt": 0,
        "worker": None,
        "position": 0,
        "started_at": None,
        "ended_at": None,
        "cursor": "0-0",
        "usage": None,
        "result": None,
        "error": None,
        "question": None,
        "metadata": {"user": 7},
        "after": None,
        "budget": None,
        "trace_id": None,
    }
    listed = (await gateway.client.get("/v1/sessions/s/jobs")).json()
    assert listed == {"jobs": [state | {"created_at": created_at}], "next": None}


async def test_the_state_of_a_session_is_that_of_its_head(gateway: Served) -> None:
    first, second = [(await post(gateway)).json()["job_id"] for _ in range(2)]
    state = (await gateway.client.get("/v1/sessions/s")).json()
    assert (state["status"], state["job_id"], state["agent"], state["cursor"]) == ("queued", first, "scripted", "0-0")
    assert state["jobs"] == state["line"] == [first, second]


async def test_a_conversation_begins_empty_with_the_cursor_to_go_on_from(gateway: Served) -> None:
    await post(gateway)
    answer = await gateway.client.get("/v1/sessions/s/messages")
    nothing = {"job_id": None, "replay_from": None, "question": None}
    assert answer.json() == {"session_id": "s", "messages": [], "cursor": "0-0", **nothing}


async def test_cancelling_a_waiting_job_is_accepted_twice(gateway: Served) -> None:
    job_id = (await post(gateway)).json()["job_id"]
    answers = [await gateway.client.post(f"/v1/sessions/s/jobs/{job_id}/cancel") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json() == {"session_id": "s", "job_id": job_id, "status": "queued"}


async def test_a_deleted_session_is_unknown_at_once(gateway: Served) -> None:
    await post(gateway)
    answer = await gateway.client.delete("/v1/sessions/s")
    assert (answer.status_code, answer.json()) == (202, {"session_id": "s", "status": "deleting"})
    assert (await gateway.client.get("/v1/sessions/s")).status_code == 404


async def test_the_agents_on_offer_come_with_their_schema(gateway: Served) -> None:
    await gateway.offer("demo")
    answer = await gateway.client.get("/v1/agents")
    assert answer.json() == {
        "agents": [{"name": name, "input_schema": {"type": "string"}} for name in ("demo", "scripted")]
    }
