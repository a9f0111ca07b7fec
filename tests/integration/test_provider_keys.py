"""No key is ever seen: not in Redis, not in an event, not in an answer, not in a line of any process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.aimock import call, rounds, says
from tests.support.process import Processes, until
from tests.support.provider_relay import Cut, End, OnFrame
from tests.support.provider_stage import KEYS, Scene, Stage, Viewer, stage_in

PASSWORD = "planted-password-of-a-url"
HOSTED_KEY = "planted key of a hosted model"
TOKEN = "planted token of an agent"
SECRETS = {*KEYS.values(), PASSWORD, HOSTED_KEY, TOKEN}

LEAKY = """
import asyncio, logging, os, warnings
import structlog
from holdfast.worker import AgentError, Run, agent
from holdfast.worker.sdk.tools import tool

TOKEN = os.environ["MY_TOKEN"]

@tool
def leak() -> None:
    raise RuntimeError(f"refused: {TOKEN}")

@agent
async def raises(run: Run) -> None:
    raise RuntimeError(f"401 for {TOKEN}, {os.environ['OPENAI_API_KEY']}")

@agent
def raises_in_a_thread(run) -> None:
    raise ValueError(TOKEN) from KeyError(os.environ["ANTHROPIC_API_KEY"])

@agent
async def fails(run: Run) -> None:
    raise AgentError("no", f"401 for {TOKEN} at {os.environ['OPENAI_BASE_URL']}")

@agent
async def calls(run: Run) -> None:
    async with run.tool("fetch"):
        raise LookupError(TOKEN)

@agent
async def logs(run: Run) -> None:
    logging.getLogger("leaky").warning("the token is %s", TOKEN)
    try:
        raise RuntimeError(TOKEN)
    except RuntimeError:
        structlog.get_logger().exception("it raised", token=TOKEN, environment=dict(os.environ))
    async def forgotten() -> None:
        raise RuntimeError(TOKEN)
    task = asyncio.create_task(forgotten())
    await asyncio.sleep(0)
    del task
"""


@pytest.fixture(scope="module", params=["json", "text"])
def stage(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("stage")
    (folder / "leaky.py").write_text(LEAKY)
    env = {
        "HOLDFAST_AGENTS": "leaky",
        "HOLDFAST_LOG_FORMAT": request.param,
        "HOLDFAST_MODELS": "hosted=openai:x@{url}/v1#MY_WAY_IN, gone=openai:x@http://127.0.0.1:1/v1#MY_WAY_IN",
        "MY_WAY_IN": HOSTED_KEY,
        "MY_TOKEN": TOKEN,
        "OPENAI_BASE_URL": f"http://me:{PASSWORD}@127.0.0.1:{{port}}/v1",
        "OPENAI_LOG": "debug",
        "ANTHROPIC_LOG": "debug",
        "PYTHONPATH": str(folder),
    }
    with stage_in(folder, **env) as stage:
        yield stage


async def ends(scene: Scene, agent: str, code: str, **options: Any) -> str:
    """The message that a job of the agent fails with."""
    state = await scene.job(agent, **options)
    assert state["error"]["code"] == code, state
    await scene.messages(state["session_id"])
    return str(state["error"]["message"])


@pytest.mark.parametrize("agent", ["openai", "anthropic", "hosted"])
async def test_of_a_provider_that_repeats_them(stage: Stage, agent: str) -> None:
    echoed = " and ".join(sorted(SECRETS))
    for status, kind in [(401, "authentication_error"), (429, "rate_limit_error"), (500, "api_error")]:
        async with stage.scene(offered={agent}) as scene:
            refusal = {"error": {"message": f"Refused: {echoed}", "type": kind}, "status": status}
            await scene.aimock.answer({"match": {"userMessage": "hi"}, "response": refusal})
            state = await scene.job(agent, retries=1, on_failure=["openai:other"])

            assert state["error"]["message"].count("[removed]") == len(SECRETS)
            assert scene.viewer.of("fallback")[0]["reason"].count("[removed]") == len(SECRETS)
            stage.assert_unseen(scene, *SECRETS)


@pytest.mark.parametrize("agent", ["openai", "anthropic", "hosted"])
async def test_of_a_provider_that_breaks_off(stage: Stage, agent: str) -> None:
    def break_off(viewer: Viewer) -> OnFrame:
        told = False

        async def on_frame(frame: bytes) -> bytes:
            nonlocal told
            if len(viewer.of("text.delta")) > told:  # each answer begins with one that is heard
                if told:
                    raise Cut
                told = True
                error = f'{{"type":"error","error":{{"type":"api_error","message":"no {" ".join(SECRETS)}"}}}}'
                raise End(f"event: error\ndata: {error}\n\n".encode())
            return frame

        return on_frame

    async with stage.scene(break_off, offered={agent}) as scene:
        await scene.aimock.answer(says("abc", to="hi", chunkSize=1))
        await ends(scene, agent, "provider_stream_cut", on_failure=[agent], retries=0)

        assert scene.viewer.of("fallback")[0]["reason"].count("[removed]") == len(SECRETS)
        stage.assert_unseen(scene, *SECRETS)


async def test_of_a_server_that_cannot_be_reached(stage: Stage) -> None:
    async with stage.scene(offered={"gone"}) as scene:
        assert "gone could not be reached" in await ends(scene, "gone", "provider_unavailable", retries=0)
        stage.assert_unseen(scene, *SECRETS)


@pytest.mark.parametrize("agent", ["openai", "anthropic"])
async def test_of_a_tool_that_raises_one(stage: Stage, agent: str) -> None:
    async with stage.scene(offered={agent}) as scene:
        await scene.aimock.answer(*rounds("hi", {"toolCalls": [call("call_1", "leak")]}, {"content": "Sorry"}))
        state = await scene.job(agent, tools=["leak"])

        assert "refused: [removed]" in str(await scene.messages(state["session_id"]))
        assert "refused: [removed]" in str(scene.relay.requests[1])
        stage.assert_unseen(scene, *SECRETS)


@pytest.mark.parametrize(
    ("agent", "code", "message"),
    [
        ("raises", "agent_error", "RuntimeError: 401 for [removed], [removed]"),
        ("raises_in_a_thread", "agent_error", "ValueError: [removed]"),
        ("fails", "no", "401 for [removed] at http://[removed]@"),
        ("calls", "agent_error", "LookupError: [removed]"),
    ],
)
async def test_of_an_agent_that_raises_one(stage: Stage, agent: str, code: str, message: str) -> None:
    async with stage.scene(offered={agent}) as scene:
        assert message in await ends(scene, agent, code)
        stage.assert_unseen(scene, *SECRETS)


async def test_of_an_agent_that_logs_one(stage: Stage) -> None:
    async with stage.scene(offered={"logs"}) as scene:
        await scene.job("logs")
        await until(lambda: "never retrieved" in stage.worker.output(), describe=stage.worker.describe)

        assert "the token is [removed]" in stage.worker.output()
        stage.assert_unseen(scene, *SECRETS)


async def test_of_a_module_that_cannot_be_imported(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text('import os\nraise RuntimeError("401 for " + os.environ["MY_TOKEN"])\n')
    env = {"HOLDFAST_AGENTS": "broken", "MY_TOKEN": TOKEN, "PYTHONPATH": str(tmp_path)}

    worker = processes.start([sys.executable, "-m", "holdfast.worker"], **env)

    await worker.until_output("RuntimeError: 401 for [removed]")
    assert TOKEN not in worker.output()
