"""From a provider over HTTP, through its SDK, a worker, the log and a gateway, to a viewer of the job's events."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from tests.support.aimock import Aimock, aimock_in, call, rounds, says
from tests.support.process import Processes, until
from tests.support.provider_relay import Cut, Pace, Relay, relayed
from tests.support.record import Record
from tests.support.sse import SseStream

KEY = "a-key-that-must-never-be-seen"
TERMINAL = {"job.completed", "job.failed", "job.cancelled"}


class Viewer(Record):
    """What a client of the gateway has seen, and under which ids."""

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []

    async def watch(self, url: str) -> None:
        """Read to the end that the server makes."""
        async with SseStream(url) as stream:
            assert stream.status == 200
            async for frame in stream:
                if frame.json["type"] != "job.queued":  # the gateway's own, without an id
                    self.ids.append(frame.id)
                    await self.put("", frame.data.encode())


@dataclass
class Holdfast:
    """A gateway and a worker whose providers are a relay in front of aimock."""

    client: httpx2.AsyncClient
    aimock: Aimock
    relay: Relay
    viewer: Viewer

    async def job(self, agent: str, input: str = "hi", session_id: str = "", **options: Any) -> dict[str, Any]:
        """Queue a job, in a new session unless one is named, and watch it to its end. Returns its state then."""
        path = f"/v1/sessions/{session_id}/jobs" if session_id else "/v1/jobs"
        answer = await self.client.post(path, json={"agent": agent, "input": input, "options": options})
        assert answer.status_code == 202, answer.text
        queued = answer.json()
        await self.viewer.watch(f"{str(self.client.base_url).rstrip('/')}{queued['events_url']}")
        state: dict[str, Any] = (
            await self.client.get(f"/v1/sessions/{queued['session_id']}/jobs/{queued['job_id']}")
        ).json()
        return state


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aimock]:
    with aimock_in(tmp_path_factory.mktemp("aimock")) as running:
        yield running


@pytest.fixture
def holdfast(aimock: Aimock, processes: Processes, redis_url: str) -> Any:
    """`holdfast(then)` runs everything; `then` may harm the provider's frames."""

    @asynccontextmanager
    async def run(then: Any = None) -> AsyncIterator[Holdfast]:
        viewer = Viewer()
        pace = Pace(viewer, *filter(None, [then and then(viewer)]))
        async with relayed(aimock.url, pace) as relay:
            gateway = processes.gateway(redis_url)
            urls = {"OPENAI_BASE_URL": f"{relay.url}/v1", "ANTHROPIC_BASE_URL": relay.url}
            worker = processes.worker(redis_url, OPENAI_API_KEY=KEY, ANTHROPIC_API_KEY=KEY, **urls)
            await gateway.until_ready()
            async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:

                async def offered() -> bool:
                    assert worker.running, worker.describe()
                    names = {agent["name"] for agent in (await client.get("/v1/agents")).json()["agents"]}
                    return names >= {"openai", "anthropic"}

                await until(offered, describe=worker.describe)
                yield Holdfast(client, aimock, relay, viewer)
            assert KEY not in worker.output() + gateway.output()

    return run


@pytest.mark.parametrize("agent", ["openai", "anthropic"])
async def test_text_reasoning_and_two_rounds_of_tools_reach_a_viewer_while_they_stream(
    holdfast: Any, agent: str
) -> None:
    """The provider sends a delta only when the viewer has the one before it."""
    async with holdfast() as running:
        await running.aimock.answer(
            *rounds(
                "hi",
                {"reasoning": "First add", "toolCalls": [call("call_1", "calculator", expression="17 + 25")]},
                {"content": "Now double", "toolCalls": [call("call_2", "calculator", expression="42 * 2")]},
                {"reasoning": "Done", "content": "It is 84 🚀"},
                chunkSize=3,
            )
        )
        state = await running.job(agent, tools=["calculator"])

        viewer = running.viewer
        tool_round = ["tool.started", "tool.arguments.delta", "usage", "tool.called", "tool.result"]
        answer = ["reasoning.delta", "text.delta", "usage"]
        assert viewer.kinds() == [
            *("job.started", "reasoning.delta", *tool_round, "text.delta", *tool_round, *answer, "job.completed")
        ]
        assert viewer.joined("text.delta") == "Now doubleIt is 84 🚀"
        assert viewer.joined("reasoning.delta") == "First addDone"
        assert [event["result"] for event in viewer.of("tool.result")] == [42, 84]
        assert len(viewer.of("tool.arguments.delta")) > 8
        assert len(set(viewer.ids)) == len(viewer.ids)
        assert state["status"] == "completed"
        assert state["result"] == {"text": "It is 84 🚀", "finish_reason": "stop"}


@pytest.mark.parametrize("agent", ["openai", "anthropic"])
async def test_a_provider_that_drops_in_the_middle_gives_one_failed_end_and_keeps_the_text(
    holdfast: Any, agent: str
) -> None:
    def cut_after_three(viewer: Viewer) -> Any:
        async def cut(frame: bytes) -> bytes:
            if len(viewer.of("text.delta")) == 3:
                raise Cut
            return frame

        return cut

    async with holdfast(cut_after_three) as running:
        await running.aimock.answer(says("abcdef", to="hi", chunkSize=1))
        state = await running.job(agent)

        viewer = running.viewer
        assert viewer.kinds() == ["job.started", "text.delta", "job.failed"]
        assert viewer.joined("text.delta") == "abc"
        [end] = viewer.of(*TERMINAL)
        assert end["error"]["code"] == "provider_stream_cut"
        assert end["error"]["retryable"] is True
        assert state["status"] == "failed"
        assert len(running.relay.requests) == 1
        messages = (await running.client.get(f"/v1/sessions/{state['session_id']}/messages")).json()["messages"]
        assert [message["content"] for message in messages] == ["hi", "abc"]


@pytest.mark.parametrize("agent", ["openai", "anthropic"])
async def test_a_second_job_of_the_session_goes_on_with_the_conversation(holdfast: Any, agent: str) -> None:
    async with holdfast() as running:
        adding = {"toolCalls": [call("call_1", "calculator", expression="17 + 25")]}
        await running.aimock.answer(*rounds("hi", adding, {"content": "It is 42"}), says("As I said", to="Sure?"))
        first = await running.job(agent, tools=["calculator"])
        second = await running.job(agent, session_id=first["session_id"], input="Sure?")

        assert second["result"]["text"] == "As I said"
        heard = str(running.relay.requests[2]["messages"])
        parts = ["'hi'", "17 + 25", "'42'", "'It is 42'", "'Sure?'"]
        assert sorted(parts, key=heard.index) == parts
