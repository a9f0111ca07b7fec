"""Each example, and the README's agent, through a real worker to an SSE client that loses its connection twice."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.documents import block, blocks
from tests.support.job_viewer import JobViewer
from tests.support.process import ROOT, Gateway, Process, Processes, until
from tests.support.redis_server import RedisServer

PATTERNS = {
    "ask_a_person", "basic", "fallback", "parallel_agents", "progress", "progressive_report", "steps", "tools",
    "typed_input",
}  # fmt: skip
OWN_AGENT = block("README.md", "async def", "python")
KINDS = blocks("docs/agents.md")[0].text


class Examples:
    """A gateway, and a worker that offers all examples and the README's agent."""

    def __init__(self, processes: Processes, redis_url: str, folder: Path) -> None:
        (folder / "my_agent.py").write_text(OWN_AGENT)
        (folder / "kinds.py").write_text(KINDS)
        self._processes = processes
        self._redis_url = redis_url
        self._modules = {
            "HOLDFAST_AGENTS": ",".join(["my_agent", "kinds", *(f"examples.{name}" for name in sorted(PATTERNS))]),
            "HOLDFAST_LEASE_SECONDS": "1",
            "PYTHONPATH": str(folder),
        }
        self.gateway: Gateway = processes.gateway(redis_url)
        self.worker: Process = self.start_worker()

    def start_worker(self) -> Process:
        self.worker = self._processes.worker(self._redis_url, **self._modules)
        return self.worker

    async def post(self, agent: str, given: Any, session: str | None = None) -> httpx2.Response:
        """Queue a job, once its agent is on offer."""
        await self.gateway.until_ready()
        path = f"/v1/sessions/{session}/jobs" if session else "/v1/jobs"
        async with httpx2.AsyncClient(base_url=self.gateway.url, trust_env=False) as client:

            async def offered() -> bool:
                self.answer = await client.post(path, json={"agent": agent, "input": given})
                return self.answer.status_code not in (404, 503)  # 503 until a worker has announced an agent

            await until(offered, describe=self.worker.describe)
        return self.answer

    async def watched(self, agent: str, given: Any = "hi", session: str | None = None) -> JobViewer:
        """Run a job to its end under the eyes of a viewer whose connection is cut twice."""
        viewer = self.viewer((await self.post(agent, given, session)).json())
        await viewer.watch(cut_after=(2, 3))
        return viewer

    def viewer(self, accepted: dict[str, Any]) -> JobViewer:
        return JobViewer([self.gateway.url], accepted["events_url"])


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Examples]:
    folder = tmp_path_factory.mktemp("examples")
    server, processes = RedisServer(folder / "redis"), Processes(folder)
    server.start()
    yield Examples(processes, server.url, folder)
    processes.kill()
    server.kill()


def test_every_example_is_run_by_a_test() -> None:
    names = {path.stem for path in (ROOT / "examples").glob("*.py")}
    assert {name for name in names if not name.endswith("_agent")} == PATTERNS


def test_the_readmes_agent_has_ten_lines() -> None:
    assert len(OWN_AGENT.splitlines()) <= 10


async def test_the_readmes_agent_streams_what_it_yields(examples: Examples) -> None:
    viewer = await examples.watched("parrot", "Polly wants a cracker")
    assert viewer.kinds == ["job.started", "status", "text.delta", "job.completed"]
    assert viewer.said == "Polly wants a cracker "


@pytest.mark.parametrize(("agent", "result"), [("streams", None), ("returns", {"greeted": 1}), ("in-a-thread", None)])
async def test_every_kind_of_function_that_the_docs_show_speaks(examples: Examples, agent: str, result: Any) -> None:
    viewer = await examples.watched(agent)
    assert (viewer.said, viewer.kept[-1]["result"]) == ("Hello there.", result)


async def test_basic_speaks_word_by_word_and_knows_the_conversation(examples: Examples) -> None:
    first, second = [await examples.watched("basic", text, session="talk") for text in ("what is one?", "and two?")]
    assert first.said == "Question 1 was: what is one? "
    assert second.said == "Question 2 was: and two? "
    assert second.kept[-2]["text"] == "two? "


async def test_typed_input_is_checked_before_the_agent_gets_it(examples: Examples) -> None:
    assert (await examples.watched("planner", {"city": "Rome", "days": 2})).said == (
        "Day 1 in Rome: one museum. Day 2 in Rome: one museum. "
    )
    viewer = await examples.watched("greeter", {"name": "Ada", "times": 2})
    assert (viewer.said, viewer.kept[-1]["result"]) == ("Hello Ada. Hello Ada. ", "Ada")
    refused = await examples.post("planner", {"city": "", "days": 15, "pace": "mad"})
    assert refused.status_code == 422
    assert [error["field"] for error in refused.json()["errors"]] == ["input.city", "input.days", "input.pace"]


async def test_tools_show_their_calls_results_and_failures(examples: Examples) -> None:
    viewer = await examples.watched("tools")
    assert viewer.said == "18 °C in Paris. 4 °C in Oslo. Nobody knows about Atlantis. "
    called = [event["arguments"]["city"] for event in viewer.kept if event["type"] == "tool.called"]
    assert called == ["Paris", "Oslo", "Atlantis"]
    assert [event["result"] for event in viewer.kept if event["type"] == "tool.result"] == [
        {"celsius": 18},
        {"celsius": 4},
    ]
    assert [event["error"] for event in viewer.kept if event["type"] == "tool.failed"] == ["KeyError: 'Atlantis'"]


async def test_progress_tells_what_is_done_while_it_is(examples: Examples) -> None:
    viewer = await examples.watched("progress")
    steps = ["status", "data"] * 3
    assert viewer.kinds == ["job.started", *steps, "data", "text.delta", "job.completed"]
    assert [event["value"]["done"] for event in viewer.kept if event["type"] == "data"] == [0, 1, 2, 3]


async def test_a_progressive_report_has_its_outline_first_and_then_its_sections(examples: Examples) -> None:
    viewer = await examples.watched("progressive_report")
    section = ["section.started", "text.delta", "section.ended"]
    assert viewer.kinds == ["job.started", "data", *section * 3, "job.completed"]
    titles = [event["title"] for event in viewer.kept if event["type"] == "section.started"]
    assert titles == viewer.kept[1]["value"] == ["What was asked", "What is known", "What follows"]


async def test_parallel_agents_interleave_and_each_text_is_whole(examples: Examples) -> None:
    viewer = await examples.watched("parallel_agents")
    spoken = [(event["agent"], event["text"]) for event in viewer.kept if event["type"] == "text.delta"]
    texts = {name: "".join(text for speaker, text in spoken if speaker == name) for name, _ in spoken}
    assert texts["engineer"] == "The glass is twice as large as it needs to be. "
    assert {name: len(text.split()) for name, text in texts.items()} == viewer.kept[-1]["result"]
    speakers = [speaker for speaker, _ in spoken]
    turns = sum(one != other for one, other in itertools.pairwise(speakers))
    assert len(texts) == 3
    assert turns > 5


async def test_a_person_is_asked_in_the_middle(examples: Examples) -> None:
    accepted = (await examples.post("ask_a_person", "a table")).json()
    viewer = examples.viewer(accepted)
    watching = asyncio.create_task(viewer.watch(cut_after=(2, 3)))
    async with httpx2.AsyncClient(base_url=examples.gateway.url, trust_env=False) as client:
        for count, value in enumerate(({"when": "today", "guests": 2}, False), start=1):
            await until(lambda count=count: viewer.kinds.count("question.asked") == count)  # type: ignore[misc]
            path = f"/v1/sessions/{accepted['session_id']}/jobs/{accepted['job_id']}/answer"
            assert (await client.post(path, json={"value": value})).status_code == 202
    await asyncio.wait_for(watching, 30)
    assert viewer.said == "I can book that table. A table inside for 2, today. Then not."


async def test_a_fallback_keeps_what_was_said_and_is_announced(examples: Examples) -> None:
    viewer = await examples.watched("fallback")
    assert viewer.kinds == ["job.started", "text.delta", "fallback", "text.delta", "job.completed"]
    assert viewer.said == "The answer to that is forty-two."
    failed = await examples.watched("fallback", "the impossible")
    assert failed.kinds == ["job.started", "text.delta", "fallback", "job.failed"]
    assert failed.kept[-1]["error"] == {"code": "no_model", "message": "No model could answer", "retryable": True}


async def test_steps_that_were_done_stay_done_when_the_worker_dies(examples: Examples) -> None:
    accepted = (await examples.post("steps", "go")).json()
    viewer = examples.viewer(accepted)
    watching = asyncio.create_task(viewer.watch())
    await until(lambda: viewer.kinds[-1:] == ["status"] and "Packed" in viewer.said)
    first = viewer.said
    examples.worker.kill()
    examples.start_worker()
    await asyncio.wait_for(watching, 30)
    assert viewer.said == f"{first}It is shipped."
    # What stands before the end of the section was neither discarded nor emitted again.
    assert [event["attempt"] for event in viewer.kept if event["type"] == "job.started"] == [1, 2]
    told = [frame.json["type"] for frame in viewer.frames]
    assert (told.count("section.started"), told.count("section.ended")) == (1, 1)
    assert "".join(frame.json["text"] for frame in viewer.frames if "text" in frame.json) == viewer.said
    assert [event["message"] for event in viewer.kept if event["type"] == "status"] == ["Paying…", "Shipping…"]
