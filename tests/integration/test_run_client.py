"""The state, the context and the tools of a page reach the agent as `run.client`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from tests.support.ag_ui import ag_ui_clients, text_of
from tests.support.page_agents import guides, guides_in_a_thread
from tests.support.process import Processes
from tests.support.sealed import master_keys
from tests.support.served import Served, served
from tests.support.workers import Client, environment, worker_on

STATE = {"basket": ["tea"], "page": 3}
CONTEXT = [{"description": "Where the user is", "value": "the shop"}]
TOOLS = [{"name": "paint", "description": "Paints the page", "parameters": {"type": "object"}}]
PAGE: dict[str, Any] = {"state": STATE, "context": CONTEXT, "tools": TOOLS}
NOTHING: dict[str, Any] = {"state": None, "context": [], "tools": []}
MESSAGES = [{"id": "m1", "role": "user", "content": "Where am I?"}]
RUN = {"threadId": "t1", "runId": "r1", "messages": MESSAGES}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    client = Client(redis_url)
    async with served(redis_url) as gateway, worker_on(redis_url, [guides, guides_in_a_thread]):
        await client.offered("guides", "guides_in_a_thread")
        yield gateway
    await client.close()


async def read_in(gateway: Served, session: str = "t1") -> list[Any]:
    """What the agents of a session read of the page, the newest first."""
    jobs = (await gateway.client.get(f"/v1/sessions/{session}/jobs")).json()["jobs"]
    states = [(await gateway.client.get(f"/v1/sessions/{session}/jobs/{job['job_id']}")).json() for job in jobs]
    return [orjson.loads(state["result"]) for state in states]


@pytest.mark.parametrize("agent", ["guides", "guides_in_a_thread"])
async def test_an_agent_answers_from_the_state_and_the_context_of_http_agent(gateway: Served, agent: str) -> None:
    async with ag_ui_clients() as clients:
        client = await clients("http", gateway.url, "t1", agent=agent)
        await client.do("send", text="Where am I?", **PAGE)
        ended = await client.ended()
        assert (ended["error"], orjson.loads(text_of(ended))) == (None, PAGE)
        await client.do("send", text="And now?", state={"page": 4}, context=[], tools=[])
        await client.ended()
    assert await read_in(gateway) == [NOTHING | {"state": {"page": 4}}, PAGE], "it belongs to the job"


async def test_a_job_of_the_native_api_has_a_client_too(gateway: Served) -> None:
    for client in ({"client": PAGE}, {"client": {"state": "home"}}, {"client": None}, {}):
        body = {"agent": "guides", "input": "Hello", **client}
        accepted = (await gateway.client.post("/v1/sessions/t1/jobs", json=body)).json()
        stream = await gateway.client.get(accepted["events_url"])
        assert "job.completed" in stream.text
    assert await read_in(gateway) == [NOTHING, NOTHING, NOTHING | {"state": "home"}, PAGE]


@pytest.mark.parametrize(("max_attempts", "keys"), [(2, ""), (3, ""), (3, master_keys("m1"))])
async def test_every_attempt_and_a_retry_read_the_same(
    processes: Processes, redis_url: str, max_attempts: int, keys: str
) -> None:
    """Each first attempt kills its worker; the last one of two runs in a separate process."""
    agents = environment(lease_seconds=1, agents="tests.support.page_agents", max_attempts=max_attempts)
    for _ in range(3):
        processes.worker(redis_url, **agents, HOLDFAST_ENCRYPTION_KEYS=keys)
    client = Client(redis_url)
    async with served(redis_url, encryption_keys=keys or None) as gateway:
        await client.offered("guides")
        messages = [{"id": "m1", "role": "user", "content": "die"}]
        run = await gateway.client.post("/ag-ui/guides", json={**RUN, **PAGE, "messages": messages})
        assert "RUN_FINISHED" in run.text
        [job] = (await gateway.client.get("/v1/sessions/t1/jobs")).json()["jobs"]
        assert job["attempt"] == 2
        retry = await gateway.client.post(f"/v1/sessions/t1/jobs/{job['job_id']}/retry")
        assert "job.completed" in (await gateway.client.get(retry.json()["events_url"])).text
        assert await read_in(gateway) == [PAGE, PAGE]
    await client.close()


@pytest.mark.parametrize("field", ["state", "context", "tools"])
async def test_a_page_that_is_too_large_is_refused_by_its_field(gateway: Served, field: str) -> None:
    large = {"name": "x" * 256 * 1024}
    refused = await gateway.client.post("/ag-ui/guides", json={**RUN, field: large if field == "state" else [large]})
    assert refused.status_code == 422
    assert refused.json()["message"].startswith(f"{field}: must have at most {256 * 1024} bytes of JSON, has ")


@pytest.mark.parametrize(
    ("field", "value"), [("context", "here"), ("context.0", ["here"]), ("tools", {"name": "paint"})]
)
async def test_a_malformed_page_is_refused_by_its_field(gateway: Served, field: str, value: Any) -> None:
    refused = await gateway.client.post("/ag-ui/guides", json={**RUN, field.removesuffix(".0"): value})
    assert refused.status_code == 422
    assert refused.json()["message"].startswith(f"{field}: ")


async def test_tools_are_named_in_the_response_since_they_cannot_be_called(gateway: Served) -> None:
    run = await gateway.client.post("/ag-ui/guides", json={**RUN, **PAGE})
    assert (run.status_code, run.headers["holdfast-ignored"]) == (200, "tools")
