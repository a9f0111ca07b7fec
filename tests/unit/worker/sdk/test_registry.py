"""Agents are found by their mark, and a module that cannot be used is named."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from holdfast.shared.errors import SettingsInvalid
from holdfast.worker import Run, agent
from holdfast.worker.sdk.registry import CHAT_INPUT, ModuleBroken, Registry
from pydantic import BaseModel


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Any:
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(name: str, source: str) -> str:
        (tmp_path / f"{name}.py").write_text(source)
        return name

    return write


def test_marked_functions_of_the_modules_are_on_offer(module: Any) -> None:
    one = module(
        "agents_one", "from holdfast.worker import agent\n@agent\nasync def helper(run): ...\ndef other(): ...\n"
    )
    two = module("agents_two", "from holdfast.worker import agent\n@agent('named')\ndef f(run): ...\n")
    registry = Registry.load([one, two])
    assert sorted(registry) == ["helper", "named"]
    assert registry.schemas() == {"helper": CHAT_INPUT, "named": CHAT_INPUT}


def test_an_agent_imported_into_a_second_module_is_one_agent(module: Any) -> None:
    one = module("agents_three", "from holdfast.worker import agent\n@agent\nasync def shared_one(run): ...\n")
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
        ("def f():\n    1 / 0\n\nf()\n", "ZeroDivisionError: division by zero (agents_bad.py, line 2)"),
        ("def f(:", "invalid syntax (agents_bad.py, line 1)"),
        (
            "from holdfast.worker import agent\n@agent\ndef f(): ...\n",
            "@agent f: the first parameter of an agent is its Run",
        ),
        ("from holdfast.worker import agent\n@agent('demo')\ndef f(run): ...\n", "two agents are named 'demo'"),
    ],
)
def test_a_module_that_cannot_be_used_is_named(
    module: Any, monkeypatch: pytest.MonkeyPatch, source: str | None, says: str
) -> None:
    monkeypatch.delitem(__import__("sys").modules, "agents_bad", raising=False)
    if source is not None:
        module("agents_bad", source)
    with pytest.raises(SettingsInvalid, match="agents_bad") as caught:
        Registry.load(["holdfast.worker.agents.demo", "agents_bad"])
    assert says in str(caught.value)


def test_a_broken_module_is_told_of_and_the_others_are_loaded(module: Any) -> None:
    names = [
        module("agents_broken", "1 / 0"),
        module("agents_whole", "from holdfast.worker import agent\n@agent\ndef f(run): ..."),
    ]
    told: list[ModuleBroken] = []
    assert list(Registry.load(names, told.append)) == ["f"]
    assert [str(error).partition(" cannot")[0] for error in told] == ["HOLDFAST_AGENTS: agents_broken"]


@pytest.mark.parametrize("name", ["no_such_module", "no_such.module", "holdfast.worker.no_such_module"])
def test_a_module_that_is_not_there_is_a_wrong_setting(name: str) -> None:
    with pytest.raises(SettingsInvalid, match=name) as caught:
        Registry.load([name], lambda error: None)
    assert not isinstance(caught.value, ModuleBroken)


def test_a_module_may_have_only_tools(module: Any) -> None:
    name = module(
        "only_tools", "from holdfast.worker.sdk.tools import tool\n@tool\ndef only_here(n: int) -> int: return n\n"
    )
    assert not Registry.load([name])


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """`package("offer", "module:function", source)`: an installed package with an entry point of that name."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name: str, place: str, source: str) -> None:
        (tmp_path / f"{place.partition(':')[0]}.py").write_text(source)
        folder = tmp_path / f"{name}-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[holdfast.agents]\n{name} = {place}\n")

    return install


TWO = "from holdfast.worker import agent\n@agent\ndef one(run): ...\n@agent\ndef two(run): ...\n"


@pytest.mark.parametrize(("place", "agents"), [("installed_a", ["one", "two"]), ("installed_b:two", ["two"])])
def test_installed_packages_offer_a_module_or_one_function(
    package: Callable[..., None], place: str, agents: list[str]
) -> None:
    package("offering", place, TWO)
    assert sorted(Registry.installed()) == agents


@pytest.mark.parametrize(
    ("place", "source", "says"),
    [
        ("installed_c", "1 / 0", "cannot be imported: ZeroDivisionError"),
        ("installed_d:three", TWO, "installed_d:three is no agent"),
    ],
)
def test_an_installed_package_that_cannot_be_used_is_named(
    package: Callable[..., None], place: str, source: str, says: str
) -> None:
    package("broken", place, source)
    with pytest.raises(SettingsInvalid, match="broken") as caught:
        Registry.installed()
    assert says in str(caught.value)
