"""OpenAI's routes show a caller without rights to a session that there is no such response."""

from __future__ import annotations

import httpx2

from tests.integration.test_principal import by_header
from tests.support.served import Served, served


async def call(gateway: Served, caller: str, method: str, path: str, **body: object) -> httpx2.Response:
    headers = {"x-caller": caller}
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
        ):
            refused = await call(gateway, "stranger", method, path)
            unknown = await call(gateway, "stranger", method, path.replace("mine", "none"))
            assert (refused.status_code, refused.json()["error"]["code"]) == (404, "response_not_found"), path
            assert refused.content == unknown.content
        new = {"model": "scripted", "input": "hi", "previous_response_id": response}
        assert (await call(gateway, "stranger", "POST", "responses", **new)).status_code == 404
        assert (await call(gateway, "mine", "GET", f"responses/{response}")).json()["status"] == "queued"
