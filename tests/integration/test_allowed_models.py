"""A job uses the models of its tenant only, whichever option names them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from holdfast.shared.auth_store import AuthStore, Tenant
from holdfast.worker.agents.chat import chat_agent
from holdfast.worker.agents.models import known_models
from holdfast.worker.sdk.run import AgentError, Run

from tests.integration.test_isolated_attempt import struck
from tests.support.access import JOB, guarded, key_of
from tests.support.aimock import Aimock, aimock_in
from tests.support.process import Processes
from tests.support.provider_relay import relayed
from tests.support.record import Record, a_run
from tests.support.served import Served
from tests.support.workers import Client, worker_on

FOREIGN: list[dict[str, Any]] = [
    {"model": "dear"},
    {"model": "openai:gpt-5.5"},
    {"model": "dear-model"},
    {"on_failure": "dear"},
    {"on_failure": ["non_streamed", "openai:gpt-5.5"]},
    {"model": "cheap", "on_failure": ["dear-model"]},
]


@pytest.fixture(scope="module")
def aimock(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Aimock]:
    with aimock_in(tmp_path_factory.mktemp("aimock")) as running:
        yield running


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with guarded(redis_url) as gateway:
        yield gateway


async def test_a_gateway_refuses_options_that_name_another_model(gateway: Served) -> None:
    await AuthStore(gateway.redis).set_tenant("acme", Tenant(None, ["cheap"]))
    caller = await key_of(gateway, "acme")
    for options in [*FOREIGN, {"model": ["cheap"]}, {"model": {"a": 1}}, {"on_failure": [["dear"]]}]:
        refused = await caller("POST", "/v1/jobs", JOB | {"options": options})
        assert (refused.status_code, refused.json()["field"]) == (422, f"options.{[*options][-1]}")
    own: list[dict[str, Any]] = [{"model": None}, {"model": "cheap", "on_failure": ["non_streamed", "cheap"]}]
    for options in own:
        assert (await caller("POST", "/v1/jobs", JOB | {"options": options})).status_code == 202


class TestWorker:
    @pytest.mark.parametrize("options", FOREIGN)
    async def test_a_job_that_names_another_model_ends_before_a_request(
        self, aimock: Aimock, options: dict[str, Any]
    ) -> None:
        async with relayed(aimock.url) as relay:
            models = known_models(f"cheap=openai:cheap-model@{relay.url}/v1, dear=openai:dear-model@{relay.url}/v1")
            run = a_run(Record(), models=frozenset({"cheap"}), **options)
            with pytest.raises(AgentError) as refused:
                await chat_agent(models["cheap"], models)(run.agent("a sub-agent"))
            assert (refused.value.code, relay.requests) == ("options_invalid", [])

    async def test_a_fallback_of_the_deployment_that_the_tenant_may_not_use_is_left_out(self, aimock: Aimock) -> None:
        await aimock.answer({"match": {"userMessage": "hi"}, "response": {"error": {"message": "no"}, "status": 400}})
        async with relayed(aimock.url) as relay:
            url = f"@{relay.url}/v1"
            models = known_models(f"cheap=openai:c{url}|dear|other, dear=openai:d{url}, other=openai:o{url}")
            run = a_run(Record(), models=frozenset({"other"}))
            with pytest.raises(AgentError):
                await chat_agent(models["cheap"], models)(run)
            assert [request["model"] for request in relay.requests] == ["c", "o"]


AGENT = """
from holdfast.worker import agent

@agent
async def permitted(run):
    return sorted(run.models)
"""


async def permitted(run: Run) -> list[str] | None:
    return None if run.models is None else sorted(run.models)


@pytest.mark.parametrize("models", [None, [], ["cheap", "small"]])
async def test_a_run_has_the_models_of_its_tenant(redis_url: str, models: list[str] | None) -> None:
    client = Client(redis_url)
    async with worker_on(redis_url, [permitted]):
        await client.offered("permitted")
        await client.post(agent="permitted", models=b"" if models is None else json.dumps(models).encode())
        assert (await client.end())["result"] == models
    await client.close()


async def test_a_takeover_in_a_process_of_its_own_has_them_too(
    redis_url: str, processes: Processes, tmp_path: Path
) -> None:
    (tmp_path / "permitted_agents.py").write_text(AGENT)
    client = Client(redis_url, max_attempts=2)
    await struck(client, "permitted", models=b'["cheap"]')
    processes.worker(
        redis_url,
        HOLDFAST_LEASE_SECONDS="1",
        HOLDFAST_AGENTS="permitted_agents",
        HOLDFAST_MAX_ATTEMPTS="2",
        PYTHONPATH=str(tmp_path),
    )
    assert (await client.end())["result"] == ["cheap"]
    await client.close()
