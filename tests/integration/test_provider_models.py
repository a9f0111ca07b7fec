"""Models by name: those that a deployment configures, several at once, each with its own server and its own key."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.support.aimock import says
from tests.support.process import Processes
from tests.support.provider_relay import Cut
from tests.support.provider_stage import ANTHROPIC_KEY, OPENAI_KEY, Scene, Stage, Viewer, stage_in

LOCAL_KEY = "planted local key"
MODELS = """
    local = openai:llama3:8b@{url}/local/v1,
    hosted = openai:mistral@{url}/hosted/v1 # MY_HOSTED_KEY,
    sonnet = anthropic:claude-sonnet-5,
    claudish = anthropic:qwen@{url}/claudish,
    careful = openai:gpt-5.4 | local | sonnet,
    keyless = openai:gpt-5.4 # NOT_SET_ANYWHERE
"""
OFFERED = {"openai", "anthropic", "local", "hosted", "sonnet", "claudish", "careful"}


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with stage_in(tmp_path_factory.mktemp("stage"), HOLDFAST_MODELS=MODELS, MY_HOSTED_KEY=LOCAL_KEY) as stage:
        yield stage


def keys(scene: Scene) -> list[str]:
    """What each request showed as its key."""
    heads = [
        dict(line.lower().split(": ", 1) for line in head.split("\r\n") if ": " in line) for head in scene.relay.heads
    ]
    # Older versions of Anthropic's SDK have a field of their own for it.
    return [head.get("x-api-key") or head.get("authorization", "").removeprefix("bearer ") for head in heads]


@pytest.mark.parametrize(
    ("agent", "model", "path", "key"),
    [
        ("local", "llama3:8b", "/local/v1/chat/completions", "no-key"),
        ("hosted", "mistral", "/hosted/v1/chat/completions", LOCAL_KEY),
        ("sonnet", "claude-sonnet-5", "/v1/messages", ANTHROPIC_KEY),
        ("claudish", "qwen", "/claudish/v1/messages", "no-key"),
        ("careful", "gpt-5.4", "/v1/chat/completions", OPENAI_KEY),
    ],
)
async def test_each_configured_model_is_an_agent_with_its_own_server_and_key(
    stage: Stage, agent: str, model: str, path: str, key: str
) -> None:
    """No server but a provider's own gets the provider's own key."""
    async with stage.scene(offered=OFFERED) as scene:
        await scene.aimock.answer(says("ok", to="hi"))
        await scene.job(agent)

        assert scene.relay.paths == [path]
        assert scene.relay.requests[0]["model"] == model
        assert keys(scene) == [key]
        stage.assert_unseen(scene, LOCAL_KEY)


@pytest.mark.parametrize(
    ("agent", "option", "model", "path"),
    [
        ("openai", "gpt-5.5", "gpt-5.5", "/v1/chat/completions"),
        ("openai", "anthropic:claude-opus-5", "claude-opus-5", "/v1/messages"),
        ("anthropic", "openai:gpt-5.5", "gpt-5.5", "/v1/chat/completions"),
        ("anthropic", "local", "llama3:8b", "/local/v1/chat/completions"),
        ("local", "llama4:70b", "llama4:70b", "/local/v1/chat/completions"),
        ("local", "openai", "gpt-5.4-mini", "/v1/chat/completions"),
    ],
)
async def test_a_job_names_a_model_of_the_server_of_a_provider_or_of_the_deployment(
    stage: Stage, agent: str, option: str, model: str, path: str
) -> None:
    async with stage.scene(offered=OFFERED) as scene:
        await scene.aimock.answer(says("ok", to="hi"))
        await scene.job(agent, model=option)

        assert scene.relay.paths == [path]
        assert scene.relay.requests[0]["model"] == model


def cut_twice(viewer: Viewer) -> object:
    cuts = 0

    async def on_frame(frame: bytes) -> bytes:
        nonlocal cuts
        if cuts < 2 and len(viewer.of("text.delta")) > cuts:  # each answer begins with one that is heard
            cuts += 1
            raise Cut
        return frame

    return on_frame


async def test_a_configured_model_has_a_policy_of_its_own(stage: Stage) -> None:
    async with stage.scene(cut_twice, offered=OFFERED) as scene:
        await scene.aimock.answer(says("abc", to="hi", chunkSize=1))
        state = await scene.job("careful")

        assert [event["to"] for event in scene.viewer.of("fallback")] == ["local", "sonnet"]
        assert [request["model"] for request in scene.relay.requests] == ["gpt-5.4", "llama3:8b", "claude-sonnet-5"]
        assert state["result"]["text"] == "abc"


async def test_a_job_overrules_the_policy(stage: Stage) -> None:
    async with stage.scene(cut_twice, offered=OFFERED) as scene:
        await scene.aimock.answer(says("abc", to="hi", chunkSize=1))
        state = await scene.job("careful", on_failure="fail")

        assert state["error"]["code"] == "provider_stream_cut"


async def test_an_agent_without_its_key_is_not_offered_and_the_log_says_why(stage: Stage) -> None:
    async with stage.scene(offered=OFFERED) as scene:
        names = {agent["name"] for agent in (await scene.get("/v1/agents"))["agents"]}
        refused = await scene.client.post("/v1/jobs", json={"agent": "keyless", "input": "hi"})

        assert names == OFFERED | {"demo", "scripted"}
        assert (refused.status_code, refused.json()["code"]) == (404, "agent_unknown")
        assert '"agents": ["keyless"], "unset": ["NOT_SET_ANYWHERE"]' in stage.worker.output()


async def test_a_model_without_its_key_fails_a_job_before_anything_is_said(stage: Stage) -> None:
    async with stage.scene(offered=OFFERED) as scene:
        state = await scene.job("openai", on_failure="keyless")

        assert state["error"]["code"] == "provider_no_key"
        assert "NOT_SET_ANYWHERE is not set for the worker" in state["error"]["message"]
        assert scene.relay.requests == []


async def test_a_server_of_ones_own_needs_a_base_url_and_any_key(
    processes: Processes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What a deployment sets for Ollama and its like: the SDK's own variables, with a key that is none."""
    with stage_in(tmp_path_factory.mktemp("stage"), OPENAI_API_KEY="ollama", ANTHROPIC_API_KEY="") as stage:
        async with stage.scene(offered={"openai"}) as scene:
            await scene.aimock.answer(says("ollama says hi", to="hi"))
            state = await scene.job("openai", model="llama3:8b")

            assert state["result"]["text"] == "ollama says hi"
            assert keys(scene) == ["ollama"]
            assert "anthropic" not in {agent["name"] for agent in (await scene.get("/v1/agents"))["agents"]}


async def test_a_worker_with_a_setting_that_cannot_be_used_does_not_start(processes: Processes) -> None:
    setting = "local=openai:x#planted-key-in-the-wrong-place"
    worker = processes.start([sys.executable, "-m", "holdfast.worker"], HOLDFAST_MODELS=setting)

    assert await worker.wait() == 2
    assert "HOLDFAST_MODELS: local: behind # stands the name of an environment variable" in worker.output()
    assert "planted" not in worker.output()
