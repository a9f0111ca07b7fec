"""OpenAI's clients are cut, drained, refreshed and taken over: what they end with equals the log."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
import pytest
from openai import AsyncOpenAI

from tests.support.fault_proxy import FaultProxy, port_of
from tests.support.openai_node import openai_node
from tests.support.openai_reader import ENDS, READERS, Json, Read, read_to_the_end, with_python
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
    return AsyncOpenAI(base_url=f"{gateway.url}/openai/v1", api_key="none", max_retries=0)


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


async def test_a_client_that_is_cut_goes_on_after_its_last_event(stage: Stage, read: Read) -> None:
    async with FaultProxy(port_of(stage.gateways[0].url)) as proxy:
        reading = asyncio.create_task(read(f"http://127.0.0.1:{proxy.port}", BODY, None, None))
        await stage.spoke(20)
        proxy.cut()
        events = await reading
    assert events[-1]["type"] not in ENDS
    await stage.check(await read_to_the_end(read, lambda: stage.gateways[1].url, BODY, events))


async def test_a_client_of_a_stopping_gateway_is_cut_and_goes_on_at_another(stage: Stage, read: Read) -> None:
    reading = asyncio.create_task(read(stage.gateways[0].url, BODY, None, None))
    await stage.spoke(20)
    stage.gateways[0].terminate()
    events = await reading
    assert events[-1]["type"] not in ENDS
    await stage.check(await read_to_the_end(read, lambda: stage.gateways[1].url, BODY, events))


async def test_a_page_that_is_refreshed_in_the_middle_has_all_from_the_beginning(stage: Stage) -> None:
    first = asyncio.create_task(with_python(stage.gateways[0].url, BODY))
    await stage.spoke(20)
    refreshed = await with_python(stage.gateways[1].url, BODY, stage.response_id)
    assert refreshed == await first
    await stage.check(refreshed)


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


async def test_a_takeover_ends_a_completion_with_an_error(stage: Stage) -> None:
    messages: Any = [{"role": "user", "content": "ask"}]
    async with sdk_at(stage.gateways[0]) as sdk:

        async def read() -> None:
            options: Any = {"temperature": 1, "max_tokens": WORDS, "stream": True}
            async for _ in await sdk.chat.completions.create(model="travels", messages=messages, **options):
                pass

        reading = asyncio.create_task(read())
        await stage.spoke(20)
        await stage.replace_worker()
        with pytest.raises(openai.APIError) as failed:
            await reading
    assert failed.value.code == "attempt_reset"


async def test_a_stopping_gateway_cuts_a_completion(stage: Stage) -> None:
    messages: Any = [{"role": "user", "content": "ask"}]
    async with sdk_at(stage.gateways[0]) as sdk:

        async def read() -> None:
            options: Any = {"temperature": 1, "max_tokens": WORDS, "stream": True}
            async for _ in await sdk.chat.completions.create(model="travels", messages=messages, **options):
                pass

        reading = asyncio.create_task(read())
        await stage.spoke(20)
        stage.gateways[0].terminate()
        with pytest.raises(openai.APIConnectionError):
            await reading


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


async def test_a_stop_in_the_middle_ends_every_stream(stage: Stage) -> None:
    first = asyncio.create_task(with_python(stage.gateways[0].url, BODY))
    await stage.spoke(20)
    second = asyncio.create_task(READERS["node"](stage.gateways[1].url, BODY, stage.response_id, 0))
    async with sdk_at(stage.gateways[1]) as sdk:
        assert (await sdk.responses.cancel(stage.response_id)).status == "cancelled"
    ends = [(await reading)[-1] for reading in (first, second)]
    assert [end["response"]["status"] for end in ends] == ["cancelled", "cancelled"]
    assert ends[0]["response"]["output"] == ends[1]["response"]["output"]
