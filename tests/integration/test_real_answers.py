"""Every route answers as the OpenAPI document declares, with a real worker behind it.

The client of every gateway of the tests checks each response; this test shows that no route escapes that."""

from __future__ import annotations

import pytest
from httpx2 import AsyncClient

from tests.support.process import until
from tests.support.served import served
from tests.support.workers import worker_on

OFFER = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def has_status(client: AsyncClient, job: str, status: str) -> bool:
    return bool((await client.get(job)).json()["status"] == status)


async def test_every_route_answers_as_declared_to_a_job_that_asks_completes_and_is_deleted(redis_url: str) -> None:
    async with served(redis_url) as gateway, worker_on(redis_url):
        client = gateway.client

        async def offered() -> bool:
            return bool((await client.get("/v1/agents")).json()["agents"])

        await until(offered)
        body = {"agent": "scripted", "input": "hi", "options": {"tokens": 3, "tools": 1, "ask": "Go on?"}}
        posted = (await client.post("/v1/jobs", json=body)).json()
        session = f"/v1/sessions/{posted['session_id']}"
        job = f"{session}/jobs/{posted['job_id']}"
        await until(lambda: has_status(client, job, "waiting"))
        for path in (session, f"{session}/messages", f"{session}/jobs", "/v1/sessions", "/openapi.json"):
            assert (await client.get(path)).status_code == 200
        await client.post(f"{job}/answer", json={"value": "yes"})
        await until(lambda: has_status(client, job, "completed"))
        for path in (session, f"{session}/messages", f"{session}/jobs", "/livez", "/readyz", "/metrics"):
            assert (await client.get(path)).status_code == 200
        failing = (await client.post(f"{session}/jobs", json={**body, "options": {"fail_at": 1}})).json()
        await until(lambda: has_status(client, f"{session}/jobs/{failing['job_id']}", "failed"))
        await client.post(f"{job}/cancel")
        assert (await client.post(f"{job}/retry")).status_code == 202
        assert (await client.get(f"{job}/events")).status_code == 200
        async with client.stream("GET", f"{session}/events"):
            pass
        async with client.stream("GET", f"{session}/ws", headers=OFFER) as response:
            assert response.status_code == 101
        assert (await client.post(f"{session}/tickets", json={})).status_code == 201
        assert (await client.delete(f"{session}/tickets")).status_code == 204
        assert (await client.post("/v1/sign-in")).status_code == 200
        assert (await client.get("/v1/sign-in")).status_code == 200
        assert (await client.delete("/v1/sign-in")).status_code == 204
        for path in ("/v1/queue", "/v1/overview", "/v1/workers"):
            assert (await client.get(path)).status_code == 200
        worker = (await client.get("/v1/workers")).json()["workers"][0]["worker_id"]
        assert (await client.post(f"/v1/workers/{worker}/drain")).status_code == 202
        await client.delete(session)
        assert gateway.contract.operations - gateway.contract.answered == set()


async def test_a_response_that_is_not_as_declared_fails_its_test(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("holdfast.gateway.routes.sessions.sessions_json", lambda page: {"sessions": [], "next": 1})
    async with served(redis_url) as gateway:
        with pytest.raises(Exception, match="1 is not"):
            await gateway.client.get("/v1/sessions")
