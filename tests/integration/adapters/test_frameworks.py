"""Each framework's real library, in a worker of its own process, from a provider over HTTP to viewers of the job."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.aimock import call, rounds, says
from tests.support.frameworks import FRAMEWORKS, Deployment, Pace, Watcher, deployment
from tests.support.provider_relay import Cut, pass_on

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Where a turn's usage comes depends on the framework; everything else is the same in all of them.
ASIDE = ("usage", "status", "data")
TOOL_ROUND = ["tool.started", "tool.arguments.delta", "tool.called", "tool.result"]
TURNS = (
    {"content": "I ask the station", "toolCalls": [call("call_1", "weather", city="Paris")]},
    {"toolCalls": [call("call_2", "weather", city="Oslo")]},
    {"content": "18 °C in Paris, 4 °C in Oslo 🚀"},
)
TEXT = "I ask the station18 °C in Paris, 4 °C in Oslo 🚀"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def holdfast(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Deployment]:
    async with deployment(tmp_path_factory.mktemp("frameworks")) as running:
        yield running


@pytest.fixture(autouse=True)
def _unharmed(holdfast: Deployment) -> None:
    holdfast.pace.now = pass_on
    holdfast.relay.requests.clear()


def kinds(watcher: Watcher) -> list[str]:
    """The types in their order, each run of one type once."""
    told = [event["type"] for event in watcher.events if event["type"] not in ASIDE]
    return [kind for before, kind in zip(["", *told], told, strict=False) if kind != before]


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_viewer_that_reconnects_twice_hears_each_piece_before_the_next_is_said(
    holdfast: Deployment, framework: str
) -> None:
    """The provider sends a delta only when the viewer, who drops its connection twice amid the answer, has the one
    before it. Another viewer, who stays, sees the same events under the same ids."""
    await holdfast.aimock.answer(*rounds("hi", *TURNS, chunkSize=3))
    restless, steady = Watcher(), Watcher()
    holdfast.pace.now = Pace(restless)
    url = holdfast.url(await holdfast.job(framework))

    await asyncio.gather(restless.watch(url, cut_after=(6, 9)), steady.watch(url))

    assert restless.frames == steady.frames
    assert len({frame.id for frame in steady.frames}) == len(steady.frames)
    assert kinds(steady) == ["job.started", "text.delta", *TOOL_ROUND * 2, "text.delta", "job.completed"]
    assert steady.joined("text.delta") == TEXT
    assert len(steady.of("text.delta")) > 10
    pieces = steady.of("tool.arguments.delta")
    assert "".join(piece["delta"] for piece in pieces if piece["call_id"] == "call_1") == '{"city":"Paris"}'
    assert len(pieces) > 8
    assert [called["arguments"] for called in steady.of("tool.called")] == [{"city": "Paris"}, {"city": "Oslo"}]
    assert [found["result"] for found in steady.of("tool.result")] == ["18 °C in Paris", "4 °C in Oslo"]
    assert steady.events[-1]["result"] == {"text": "18 °C in Paris, 4 °C in Oslo 🚀"}


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_what_a_session_said_before_is_said_to_the_model_again(holdfast: Deployment, framework: str) -> None:
    await holdfast.aimock.answer(*rounds("hi", TURNS[0], {"content": "Mild"}), says("As I said, mild", to="And?"))
    queued = await holdfast.job(framework)
    await Watcher().watch(holdfast.url(queued))
    holdfast.relay.requests.clear()

    watcher = await holdfast.watched(
        framework, {"messages": [{"role": "user", "content": "And?"}]}, queued["session_id"]
    )

    assert watcher.joined("text.delta") == "As I said, mild"
    [request] = holdfast.relay.requests
    assert heard(request) == [
        ("user", "hi"),
        ("assistant", "I ask the station"),
        ("call", "call_1", '{"city":"Paris"}'),
        ("answer", "call_1", "18 °C in Paris"),
        ("assistant", "Mild"),
        ("user", "And?"),
    ]


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_the_model_hears_of_a_tool_that_fails_and_the_viewer_too(holdfast: Deployment, framework: str) -> None:
    called = call("call_1", "weather", city="Atlantis")
    await holdfast.aimock.answer(*rounds("hi", {"toolCalls": [called]}, {"content": "No idea"}))

    watcher = await holdfast.watched(framework)

    assert kinds(watcher) == ["job.started", *TOOL_ROUND[:3], "tool.failed", "text.delta", "job.completed"]
    assert isinstance(watcher.of("tool.failed")[0]["error"], str)


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_the_tokens_that_a_provider_counts_are_the_job_s_usage(holdfast: Deployment, framework: str) -> None:
    counted = {"input_tokens": 12, "output_tokens": 5, "prompt_tokens": 12, "completion_tokens": 5}
    response = {"content": "Mild", "usage": counted | {"total_tokens": 17}}
    await holdfast.aimock.answer({"match": {"userMessage": "hi"}, "response": response})

    queued = await holdfast.job(framework)
    watcher = Watcher()
    await watcher.watch(holdfast.url(queued))

    [used] = watcher.of("usage")
    assert (used["input_tokens"], used["output_tokens"]) == (12, 5)
    assert used["model"].startswith("gpt-5.4-mini")
    state = (await holdfast.client.get(f"/v1/sessions/{queued['session_id']}/jobs/{queued['job_id']}")).json()
    assert state["usage"]["input_tokens"] == 12


@pytest.mark.parametrize("framework", FRAMEWORKS)
@pytest.mark.parametrize(
    ("status", "kind", "code", "retryable"),
    [
        (400, "invalid_request_error", "provider_bad_request", False),
        (401, "authentication_error", "provider_refused_key", False),
    ],
)
async def test_a_provider_s_refusal_is_named(
    holdfast: Deployment, framework: str, status: int, kind: str, code: str, retryable: bool
) -> None:
    error = {"message": "Not so, key sk-abcdefghijk", "type": kind}
    await holdfast.aimock.answer({"match": {"userMessage": "hi"}, "response": {"error": error, "status": status}})

    watcher = await holdfast.watched(framework)

    failure = watcher.events[-1]["error"]
    assert (failure["code"], failure["retryable"]) == (code, retryable)
    assert f"OpenAI answered {status}" in failure["message"]
    assert "sk-abc" not in failure["message"]


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_provider_that_drops_amid_its_answer_fails_the_job_and_what_it_said_stays(
    holdfast: Deployment, framework: str
) -> None:
    await holdfast.aimock.answer(says("abcdef", to="hi", chunkSize=1))
    watcher = Watcher()

    async def cut(frame: bytes) -> bytes:
        if len(watcher.of("text.delta")) == 3:
            raise Cut
        return frame

    holdfast.pace.now = Pace(watcher, then=cut)
    await watcher.watch(holdfast.url(await holdfast.job(framework)))

    assert kinds(watcher) == ["job.started", "text.delta", "job.failed"]
    assert watcher.joined("text.delta") == "abc"
    failure = watcher.events[-1]["error"]
    assert (failure["code"], failure["retryable"]) == ("provider_stream_cut", True)


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_a_job_that_is_cancelled_closes_the_connection_to_its_provider(
    holdfast: Deployment, framework: str
) -> None:
    await holdfast.aimock.answer(says("abcdef", to="hi", chunkSize=1))
    watcher = Watcher()

    async def stall(frame: bytes) -> bytes:
        if watcher.of("text.delta"):
            await asyncio.Event().wait()
        return frame

    holdfast.relay.left.clear()
    holdfast.pace.now = Pace(watcher, then=stall)
    queued = await holdfast.job(framework)
    watching = asyncio.create_task(watcher.watch(holdfast.url(queued)))
    await watcher.until(1, "text.delta")
    holdfast.relay.left.clear()
    path = f"/v1/sessions/{queued['session_id']}/jobs/{queued['job_id']}/cancel"
    assert (await holdfast.client.post(path)).status_code == 202

    await watching
    assert watcher.events[-1]["type"] == "job.cancelled"
    await asyncio.wait_for(holdfast.relay.left.wait(), 30)


async def test_no_framework_asks_anything_of_another_machine(holdfast: Deployment) -> None:
    """Of the tests above: telemetry goes out in threads, which the guard in the worker sees."""
    assert "FOREIGN HOST" not in holdfast.worker.output()


def heard(request: dict[str, Any]) -> list[tuple[str, ...]]:
    """The conversation in a request, in Chat Completions or Responses, without the system prompt."""
    said: list[tuple[str, ...]] = []
    for item in request.get("messages") or request["input"]:
        if item.get("role") == "tool":
            said.append(("answer", item["tool_call_id"], _text(item["content"])))
        elif item.get("type") == "function_call_output":
            said.append(("answer", item["call_id"], item["output"]))
        elif item.get("type") == "function_call":
            said.append(("call", item["call_id"], _compact(item["arguments"])))
        elif item["role"] not in {"system", "developer"}:
            said += [(item["role"], _text(item["content"]))] if item.get("content") else []
            calls = item.get("tool_calls") or []
            said += [("call", one["id"], _compact(one["function"]["arguments"])) for one in calls]
    return said


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(block["text"] for block in content)


def _compact(arguments: str) -> str:
    return arguments.replace(": ", ":")
