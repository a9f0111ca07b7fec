"""What AG-UI's routes do with the runs of a thread: questions, their answers, and stops."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from holdfast.shared.keys import session_keys

from tests.support.ag_ui_http import API, behind, body, frames, jobs_of, types
from tests.support.dialect_agents import travels
from tests.support.served import Served, served
from tests.support.workers import Client, worker_on

TRAVELS = "/ag-ui/travels"


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway, worker_on(redis_url, [travels]):
        client = Client(redis_url)
        await client.offered("scripted", "travels")
        await client.close()
        yield gateway


async def test_a_question_is_answered_by_the_next_run(gateway: Served) -> None:
    asked = await gateway.client.post(TRAVELS, json=body(forwardedProps={"options": {"tokens": 1}}))
    [interrupt] = frames(asked)[-1][1]["outcome"]["interrupts"]
    resume = {"interruptId": interrupt["id"], "status": "resolved"}
    refused = await gateway.client.post(TRAVELS, json=body("r2", resume=[{**resume, "payload": 1}]))
    assert (refused.status_code, refused.json()["field"]) == (422, "resume.0.payload")
    answer = body("r2", resume=[{**resume, "payload": "Monday"}])
    answered = await gateway.client.post(TRAVELS, json=answer)
    assert frames(answered)[0][1]["runId"] == "r2"
    assert types(answered)[:2] == ["RUN_STARTED", "CUSTOM"]
    assert types(answered)[-1] == "RUN_FINISHED"
    again = await gateway.client.post(TRAVELS, json=answer)
    assert types(again)[:2] == ["RUN_STARTED", "MESSAGES_SNAPSHOT"]
    assert frames(again)[-1][1] == frames(answered)[-1][1]
    assert len(await jobs_of(gateway)) == 1


async def test_an_interrupt_that_is_cancelled_cancels_the_job(gateway: Served) -> None:
    asked = await gateway.client.post(TRAVELS, json=body())
    [interrupt] = frames(asked)[-1][1]["outcome"]["interrupts"]
    resume = [{"interruptId": interrupt["id"], "status": "cancelled"}]
    cancelled = await gateway.client.post(TRAVELS, json=body("r2", resume=resume))
    assert frames(cancelled)[-1][1]["code"] == "cancelled"


async def test_a_stop_ends_the_run_for_everyone(gateway: Served) -> None:
    given = body(forwardedProps={"options": {"tokens": 10_000}})
    async with gateway.client.stream("POST", API, json=given) as running:
        stale = await gateway.client.post(f"{API}/t1/stop", json={"runId": f"t1~{'x' * 8}"})
        assert stale.json() == {"stopped": False}
        assert (await gateway.client.post(f"{API}/t1/stop", json={"runId": "r1"})).json() == {"stopped": True}
        ended = (await running.aread()).decode()
    assert '"code":"cancelled"' in ended
    assert (await gateway.client.post(f"{API}/t1/stop")).json() == {"stopped": False}
    assert (await gateway.client.post(f"{API}/t9/stop")).json() == {"stopped": False}


async def test_a_stop_of_an_ended_run_leaves_the_next_one_alone(gateway: Served) -> None:
    await gateway.client.post(API, json=body())
    async with gateway.client.stream("POST", API, json=body("r2", forwardedProps={"options": {"tokens": 500}})):
        assert (await gateway.client.post(f"{API}/t1/stop", json={"runId": "r1"})).json() == {"stopped": False}


async def test_a_stop_of_an_unknown_run_leaves_the_job_of_another_alone(gateway: Served) -> None:
    """It may not have been accepted yet, or never. But a run that has answered a question is known by no id."""
    async with gateway.client.stream("POST", API, json=body(forwardedProps={"options": {"tokens": 2000}})):
        assert (await gateway.client.post(f"{API}/t1/stop", json={"runId": "r9"})).json() == {"stopped": False}
        assert (await gateway.client.post(f"{API}/t1/stop")).json() == {"stopped": True}
    asked = await gateway.client.post(TRAVELS, json=body("r2", forwardedProps={"options": {"tokens": 2000}}))
    [interrupt] = frames(asked)[-1][1]["outcome"]["interrupts"]
    resume = {"interruptId": interrupt["id"], "payload": "Monday"}
    async with gateway.client.stream("POST", TRAVELS, json=body("r3", resume=[resume])):
        assert (await gateway.client.post(f"{TRAVELS}/t1/stop", json={"runId": "r3"})).json() == {"stopped": True}


async def test_a_thread_whose_last_run_is_trimmed_is_joined_with_its_messages(gateway: Served, redis_url: str) -> None:
    first = await gateway.client.post(API, json=body("r0"))
    await gateway.client.post(API, json=body(messages=behind(first)))
    client = Client(redis_url)
    await client.log_redis.xtrim(session_keys("t1").log, maxlen=1, approximate=False)
    await client.close()
    given = await gateway.client.get(API, params={"threadId": "t1", "runId": "r1"})
    assert (given.status_code, given.json()["error"]) == (410, "events_trimmed")
    connect = "/copilotkit/agent/scripted/connect"
    for joined in (
        await gateway.client.get(f"{API}/t1/events"),
        await gateway.client.post(connect, json=body("r9", messages=[])),
    ):
        assert types(joined) == ["RUN_STARTED", "MESSAGES_SNAPSHOT", "RUN_FINISHED"]
        messages = frames(joined)[1][1]["messages"]
        assert [message["content"] for message in messages] == ["Hello", "w0 w1 ", "Hello", "w0 w1 "]


async def test_a_run_whose_id_looks_like_that_of_a_job_is_found(gateway: Served) -> None:
    first = await gateway.client.post(API, json=body("t1~r1"))
    again = await gateway.client.get(API, params={"threadId": "t1", "runId": "t1~r1"})
    assert frames(again)[-1][1] == frames(first)[-1][1]


async def test_an_interrupt_that_was_answered_cancels_nothing(gateway: Served) -> None:
    """Another page may still show it."""
    props = {"options": {"tokens": 2000}}
    asked = await gateway.client.post(TRAVELS, json=body(forwardedProps=props))
    [interrupt] = frames(asked)[-1][1]["outcome"]["interrupts"]
    resume = {"interruptId": interrupt["id"], "status": "resolved", "payload": "Monday"}
    stale = {"interruptId": interrupt["id"], "status": "cancelled"}
    async with gateway.client.stream("POST", TRAVELS, json=body("r2", resume=[resume])):
        async with gateway.client.stream("POST", TRAVELS, json=body("r3", resume=[stale])):
            assert [job["status"] for job in await jobs_of(gateway)] == ["running"]
        stale["interruptId"] = f"{(await jobs_of(gateway))[0]['job_id']}~anything"
        unknown = await gateway.client.post(TRAVELS, json=body("r4", resume=[stale]))
        assert (unknown.status_code, unknown.json()["error"]) == (404, "question_unknown")
        assert (await gateway.client.post(f"{TRAVELS}/t1/stop")).json() == {"stopped": True}


async def test_an_interrupt_that_is_cancelled_twice_is_streamed_again(gateway: Served) -> None:
    asked = await gateway.client.post(TRAVELS, json=body())
    [interrupt] = frames(asked)[-1][1]["outcome"]["interrupts"]
    resume = [{"interruptId": interrupt["id"], "status": "cancelled"}]
    first, again = [await gateway.client.post(TRAVELS, json=body("r2", resume=resume)) for _ in range(2)]
    assert types(first)[0] == "RUN_STARTED"
    assert types(again)[:2] == ["RUN_STARTED", "MESSAGES_SNAPSHOT"]
    assert frames(again)[-1][1] == frames(first)[-1][1]
