"""What starting costs: nothing for a worker without frameworks, and for one with them nothing in its first job."""

from __future__ import annotations

import re
import sys
from importlib.metadata import version
from types import ModuleType

import pytest
from holdfast.worker.sdk.registry import Registry

from tests.support.aimock import Aimock, call, rounds
from tests.support.frameworks import FRAMEWORKS
from tests.support.process import ROOT, Processes

PLAIN_WORKER = """
import sys
from holdfast.worker.__main__ import modules
from holdfast.worker.sdk.registry import Registry
from holdfast.worker.process.settings import WorkerSettings
import holdfast.worker.process.arq_worker
Registry.load(modules(WorkerSettings(scripted_agent=True))).warm()
foreign = ("agents", "haystack", "langchain_core", "langgraph", "pydantic_ai", "semantic_kernel", "openai", "anthropic")
ours = "holdfast.worker.adapters"
print(sorted(name for name in sys.modules if name.partition(".")[0] in foreign or name.startswith(ours)))
"""

FIRST_JOB = """
import asyncio, sys
from pydantic import BaseModel
from tests.support.record import Record, a_run
from holdfast.worker.sdk.registry import Registry

registry = Registry.load([f"examples.{sys.argv[1]}_agent"])
registry.warm()

def built():
    waiting, found = [BaseModel], set()
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.__module__.startswith(("openai.", "anthropic.")) and kind.__pydantic_complete__:
            found.add(kind.__qualname__)
    return found

modules, types = set(sys.modules), built()
asyncio.run(registry[sys.argv[1]].function(a_run(Record())))
print(sorted(set(sys.modules) - modules), sorted(built() - types))
"""


async def test_a_worker_without_frameworks_imports_none(processes: Processes) -> None:
    started = processes.start([sys.executable, "-c", PLAIN_WORKER])

    assert await started.wait() == 0, started.describe()
    assert started.output().splitlines()[-1] == "[]"


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_the_first_job_imports_nothing_and_builds_no_types(
    processes: Processes, aimock: Aimock, framework: str
) -> None:
    """Both would hold up the tokens of all jobs: half a second of it, in the case of the OpenAI Agents SDK."""
    turn = {"content": "I ask", "toolCalls": [call("call_1", "weather", city="Paris")]}
    await aimock.answer(*rounds("hi", turn, {"content": "Mild"}))

    urls = {"OPENAI_BASE_URL": f"{aimock.url}/v1", "OPENAI_API_KEY": "not-a-key"}
    first_job = processes.start([sys.executable, "-c", FIRST_JOB, framework], **urls)

    assert await first_job.wait() == 0, first_job.describe()
    assert first_job.output().splitlines()[-1] == "[] []"


def test_all_frameworks_stand_beside_each_other_in_the_versions_that_are_known_to() -> None:
    """A resolver that finds no way out falls back to versions of years ago, and says nothing."""
    assert version("redis").startswith("5.3.")
    assert version("arq").startswith("0.28.")
    assert version("pydantic").startswith("2.13.")
    installed = {name: tuple(int(part) for part in version(name).split(".")[:2]) for name in LEAST}
    assert {name: installed[name] for name in LEAST if installed[name] < LEAST[name]} == {}


LEAST = {
    "haystack-ai": (3, 4),
    "langchain-core": (1, 7),
    "langchain-openai": (1, 7),
    "langgraph": (1, 2),
    "semantic-kernel": (1, 45),
    "openai-agents": (0, 24),
    "pydantic-ai-slim": (2, 68),
    "openai": (3, 52),
    "anthropic": (2, 11),
}


def test_the_example_in_the_documentation_is_an_agent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "not-a-key")
    [source] = re.findall(r"```python\n# my_agents.py\n(.*?)```", (ROOT / "docs" / "agents.md").read_text(), re.DOTALL)
    module = ModuleType("my_agents")
    exec(source, vars(module))
    monkeypatch.setitem(sys.modules, "my_agents", module)

    assert list(Registry.load(["my_agents"])) == ["poet"]
