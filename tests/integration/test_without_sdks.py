"""Gateway and worker where neither the SDKs of model providers nor frameworks are installed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.process import Processes, inherited_env, until
from tests.support.served import served

# Hides, for the interpreter that finds it, what only extras install.
HIDING = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("openai", "anthropic", "httpx2", "agents", "langchain_core", "pydantic_ai"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
"""
MODELS = "claude=anthropic:claude-sonnet-5,local=openai:llama3:8b@http://127.0.0.1:9/v1"


@pytest.fixture
def hiding(tmp_path: Path) -> dict[str, str]:
    """The environment of a process that does not find them."""
    (tmp_path / "sitecustomize.py").write_text(HIDING)
    return {"PYTHONPATH": str(tmp_path)}


async def test_the_other_agents_are_offered_and_the_log_names_the_extra(
    redis_url: str, processes: Processes, hiding: dict[str, str]
) -> None:
    keys = {"OPENAI_API_KEY": "a-key", "ANTHROPIC_API_KEY": "a-key", "HOLDFAST_MODELS": MODELS}
    bound = {"HOLDFAST_REDIS_URL": redis_url, "HOLDFAST_SCRIPTED_AGENT": "1", "HOLDFAST_LOG_FORMAT": "json"}
    worker = processes.start([sys.executable, "-m", "holdfast.worker"], **bound, **keys, **hiding)
    async with served(redis_url) as gateway:

        async def offered() -> bool:
            assert worker.running, worker.describe()
            agents = (await gateway.client.get("/v1/agents")).json()["agents"]
            return [agent["name"] for agent in agents] == ["demo", "scripted"]

        await until(offered, describe=worker.describe)
    for name, provider in (("openai", "openai"), ("claude", "anthropic"), ("local", "openai")):
        assert f'"agent": "{name}", "install": "holdfast-gateway[{provider}]"' in worker.output()


@pytest.mark.parametrize("module", ["holdfast", "holdfast.gateway.__main__", "holdfast.__main__", "holdfast.cli.top"])
async def test_it_is_imported(module: str, processes: Processes, hiding: dict[str, str]) -> None:
    process = processes.start([sys.executable, "-c", f"import {module}"], **inherited_env() | hiding)
    assert await process.wait() == 0, process.describe()
