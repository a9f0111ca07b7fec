"""OpenAI's routes show a caller without rights to a session that there is no such response."""

from __future__ import annotations

import httpx2
from holdfast.gateway.principal import RIGHTS

from tests.integration.test_principal import by_header
from tests.support.served import Served, served


async def call(gateway: Served, caller: str, method: str, path: str, **body: object) -> httpx2.Response:
    """Call as a subject, or with these rights."""
    known = set(caller.split()) <= RIGHTS
    headers = {"x-caller": "ann", "x-rights": caller} if known else {"x-caller": caller}
    return await gateway.client.request(method, f"/openai/v1/{path}", headers=headers, json=body or None)


async def test_a_response_of_another_caller_is_an_unknown_one(redis_url: str) -> None:
    async with served(redis_url, authenticate=by_header) as gateway:
        await gateway.offer("scripted")
        job = {"agent": "scripted", "input": "hi"}
        posted = await gateway.client.post("/v1/sessions/mine/jobs", json=job, headers={"x-caller": "mine"})
        response = f"resp_mine{posted.json()['job_id']}"
        for method, path in (
            ("GET", f"responses/{response}"),
            ("GET", f"responses/{response}?stream=true"),
            ("POST", f"responses/{response}/cancel"),
            ("GET", f"responses/{response}/input_items"),
            ("DELETE", f"responses/{response}"),
        ):
            refused = await call(gateway, "stranger", method, path)
            unknown = await call(gateway, "stranger", method, path.replace("mine", "none"))
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "response_not_found"), path
            assert refused.content == unknown.content
        new = {"model": "scripted", "input": "hi", "previous_response_id": response}
        assert (await call(gateway, "stranger", "POST", "responses", **new)).status_code == 404
        assert (await call(gateway, "mine", "GET", f"responses/{response}")).json()["status"] == "queued"


async def test_output_needs_the_right_to_read(redis_url: str) -> None:
    async with served(redis_url, authenticate=by_header) as gateway:
        await gateway.offer("scripted")
        new = {"model": "scripted", "input": "hi", "background": True}
        assert (await call(gateway, "submit", "POST", "responses", **new)).status_code == 403
        chat = {"model": "scripted", "messages": [{"role": "user", "content": "hi"}]}
        assert (await call(gateway, "submit", "POST", "chat/completions", **chat)).status_code == 403
        created = (await call(gateway, "submit read", "POST", "responses", **new)).json()["id"]
        assert (await call(gateway, "stop", "POST", f"responses/{created}/cancel")).status_code == 403
        output = {"type": "function_call_output", "call_id": "q1", "output": "yes"}
        answer = {"model": "scripted", "previous_response_id": created, "input": [output]}
        for rights in ("answer", "read", "submit read"):
            refused = await call(gateway, rights, "POST", "responses", **answer)
            assert refused.json()["error"]["code"] == "forbidden", rights
        allowed = await call(gateway, "answer read", "POST", "responses", **answer)
        assert allowed.json()["error"]["code"] == "question_unknown"


async def test_the_key_of_one_caller_is_not_that_of_another(redis_url: str) -> None:
    async with served(redis_url, authenticate=by_header) as gateway:
        await gateway.offer("scripted")
        new = {"model": "scripted", "input": "hi", "background": True}
        ids = set()
        for caller in ("ann", "bob", "ann"):
            headers = {"x-caller": caller, "Idempotency-Key": "k1"}
            created = await gateway.client.post("/openai/v1/responses", json=new, headers=headers)
            ids.add(created.json()["id"])
        assert len(ids) == 2
