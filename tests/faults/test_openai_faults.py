"""OpenAI's clients at a takeover and at a gateway that stops. test_clients.py has all faults in one job."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from tests.support.openai_node import openai_node
from tests.support.openai_reader import READERS, Json, Read
from tests.support.process import Gateway, Process, Processes, until
from tests.support.travel import THOUGHTS, told
from tests.support.workers import Client

WORDS = 200
BODY = {"model": "travels", "input": "ask", "temperature": 1, "max_output_tokens": WORDS}
ENV = {"HOLDFAST_AGENTS": "tests.support.travel", "HOLDFAST_LEASE_SECONDS": "1"}


@dataclass
class Stage:
    """Two gateways and a worker. The agent's question is answered at the second gateway."""

    processes: Processes
    redis_url: str
    client: Client
    gateways: list[Gateway]
    worker: Process
    session_id: str = ""
    job_id: str = ""

    async def spoke(self, words: int) -> None:
        """Wait until the agent has asked, answer it, and wait until it has said so many words."""
        async with httpx2.AsyncClient(base_url=self.gateways[1].url, trust_env=False) as http:

            async def asks() -> bool:
                sessions = (await http.get("/v1/sessions")).json()["sessions"]
                if not sessions or sessions[0]["status"] != "waiting":
                    return False
                self.session_id, self.job_id = sessions[0]["session_id"], sessions[0]["job_id"]
                return True

            await until(asks)
            path = f"/v1/sessions/{self.session_id}/jobs/{self.job_id}"
            assert (await http.post(f"{path}/answer", json={"value": "Faro"})).status_code == 202
        await self.client.spoke(self.session_id, self.job_id, words)

    @property
    def response_id(self) -> str:
        return f"resp_{self.session_id}{self.job_id}"

    async def replace_worker(self) -> None:
        """SIGKILL the worker; another one takes over."""
        self.worker.kill()
        self.worker = self.processes.worker(self.redis_url, **ENV)

    async def check(self, events: list[Json]) -> None:
        """The events have no hole, and the last one has what the log has."""
        assert [event["sequence_number"] for event in events] == list(range(len(events)))
        assert events[-1]["type"] == "response.completed"
        assert text_of(events[-1]["response"]) == told("Faro", WORDS)
        assert await self.client.said(self.session_id, self.job_id) == THOUGHTS + told("Faro", WORDS)


def sdk_at(gateway: Gateway) -> AsyncOpenAI:
    return AsyncOpenAI(base_url=f"{gateway.url}/openai/v1", api_key="none", max_retries=0, timeout=60)


def text_of(response: Json) -> str:
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for message in messages for part in message["content"])


@pytest.fixture
async def stage(processes: Processes, redis_url: str, client: Client) -> Stage:
    gateways = [processes.gateway(redis_url) for _ in range(2)]
    worker = processes.worker(redis_url, **ENV)
    for gateway in gateways:
        await gateway.until_ready()
    await client.offered("travels")
    return Stage(processes, redis_url, client, gateways, worker)


@pytest.fixture(params=READERS)
def read(request: pytest.FixtureRequest) -> Read:
    return READERS[request.param]


async def test_a_takeover_ends_with_the_text_that_counts(stage: Stage, read: Read) -> None:
    reading = asyncio.create_task(read(stage.gateways[0].url, BODY, None, None))
    await stage.spoke(20)
    await stage.replace_worker()
    events = await reading
    await stage.check(events)
    incomplete = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert "incomplete" in [item["status"] for item in incomplete]


@pytest.mark.parametrize("helper", ["python", "node"])
async def test_the_helpers_survive_a_takeover(stage: Stage, helper: str) -> None:

    async def python() -> str:
        body: Any = BODY
        async with sdk_at(stage.gateways[0]) as sdk, sdk.responses.stream(**body) as stream:
            return (await stream.get_final_response()).output_text

    async def node() -> str:
        return str((await openai_node(stage.gateways[0].url, "response", body=BODY))[-1]["final"]["output_text"])

    reading = asyncio.create_task(python() if helper == "python" else node())
    await stage.spoke(20)
    await stage.replace_worker()
    assert await reading == told("Faro", WORDS)


async def test_a_stopping_gateway_shows_no_part_of_a_response_as_the_whole(stage: Stage) -> None:
    async with sdk_at(stage.gateways[0]) as sdk:
        body: Any = BODY | {"input": "go", "max_output_tokens": 2000}
        waiting = asyncio.create_task(sdk.responses.create(**body))

        async def started() -> bool:
            async with httpx2.AsyncClient(base_url=stage.gateways[1].url, trust_env=False) as http:
                sessions = (await http.get("/v1/sessions")).json()["sessions"]
                return bool(sessions and sessions[0]["status"] == "running")

        await until(started)
        stage.gateways[0].terminate()
        with pytest.raises(openai.InternalServerError) as stopped:
            await waiting
    assert (stopped.value.status_code, stopped.value.response.headers["x-should-retry"]) == (504, "false")
    response_id = re.findall(r"resp_[\w-]+", stopped.value.message)[0]
    async with sdk_at(stage.gateways[1]) as sdk:
        assert (await sdk.responses.cancel(response_id)).status == "cancelled"
