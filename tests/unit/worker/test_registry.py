"""Agents are found by their mark, and a module that cannot be used is named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from shared.errors import SettingsInvalid
from worker import Run, agent
from worker.registry import CHAT_INPUT, Registry


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, source: str) -> str:
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def test_marked_functions_of_the_modules_are_on_offer(module: Any) -> None:
    one = module("agents_one", "from worker import agent\n@agent\nasync def helper(run): ...\ndef other(): ...\n")
    two = module("agents_two", "from worker import agent\n@agent('named')\ndef f(run): ...\n")
    registry = Registry.load([one, two])
    assert sorted(registry) == ["helper", "named"]
    assert registry.schemas() == {"helper": CHAT_INPUT, "named": CHAT_INPUT}


def test_an_agent_imported_into_a_second_module_is_one_agent(module: Any) -> None:
    one = module("agents_three", "from worker import agent\n@agent\nasync def shared_one(run): ...\n")
    two = module("agents_four", "from agents_three import shared_one\n")
    assert list(Registry.load([one, two])) == ["shared_one"]


def test_the_input_is_a_schema_or_a_model() -> None:
    class Order(BaseModel):
        amount: int

    @agent(input=Order)
    async def by_model(run: Run) -> None: ...

    @agent(input={"type": "object"})
    async def by_schema(run: Run) -> None: ...

    registry = Registry([by_model.__holdfast_agent__, by_schema.__holdfast_agent__])  # type: ignore[attr-defined]
    assert registry["by_model"].schema["required"] == ["amount"]
    assert registry["by_schema"].schema == {"type": "object"}


@pytest.mark.parametrize(
    ("source", "says"),
    [
        (None, "No module named 'agents_bad'"),
        ("1 / 0", "ZeroDivisionError"),
        ("x = 1", "has no agent"),
        ("from worker import agent\n@agent('demo')\ndef f(run): ...\n", "two agents are named 'demo'"),
    ],
)
def test_a_module_that_cannot_be_used_is_named(
    module: Any, monkeypatch: pytest.MonkeyPatch, source: str | None, says: str
) -> None:
    monkeypatch.delitem(__import__("sys").modules, "agents_bad", raising=False)
    if source is not None:
        module("agents_bad", source)
    with pytest.raises(SettingsInvalid, match="agents_bad") as caught:
        Registry.load(["worker.agents.demo", "agents_bad"])
    assert says in str(caught.value)
