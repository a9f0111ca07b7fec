"""Find the agents that a worker offers: functions marked with `@agent`, in the modules of HOLDFAST_AGENTS and in
installed packages with the entry point `holdfast.agents`."""

from __future__ import annotations

import importlib
import inspect
import traceback
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar, overload

import structlog
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.json_schema import check_schema
from holdfast.worker.sdk.signature import bound, input_of
from holdfast.worker.sdk.tools import tools_of
from pydantic import BaseModel

AgentFunction = Callable[..., Any]
Schema = dict[str, Any]
Input = type[BaseModel] | Schema

TEXT_PART: Schema = {
    "type": "object",
    "required": ["type", "text"],
    "properties": {"type": {"const": "text"}, "text": {"type": "string"}},
}
# The default input schema of an agent: a text, or a conversation.
CHAT_INPUT: Schema = {
    "anyOf": [
        {"type": "string"},
        {
            "type": "object",
            "required": ["messages"],
            "properties": {
                "messages": {
                    "type": "array",
                    "minItems": 1,
                    "items": {
                        "type": "object",
                        "required": ["role", "content"],
                        "properties": {
                            "role": {"type": "string"},
                            "content": {"anyOf": [{"type": "string"}, {"type": "array", "items": TEXT_PART}]},
                        },
                    },
                }
            },
        },
    ]
}

log = structlog.get_logger()

# The group of entry points by which an installed package offers agents: `name = "package.module"` or `…:function`.
GROUP = "holdfast.agents"
_MARK = "__holdfast_agent__"
Function = TypeVar("Function", bound=AgentFunction)


class ModuleBroken(SettingsInvalid):
    """A module exists but is unusable: its import raises, or it has no agent."""


OnBroken = Callable[[ModuleBroken], None]


@dataclass(frozen=True, slots=True)
class Agent:
    """An agent. `function` takes a Run; it is async, an async generator of text, or synchronous.

    `warm` runs before the first job and does what would delay that job's first token: mostly imports."""

    name: str
    function: AgentFunction
    schema: Schema
    warm: Callable[[], object] | None = None


@overload
def agent(name: Function) -> Function: ...
@overload
def agent(
    name: str | None = None, *, input: Input | None = None, warm: Callable[[], object] | None = None
) -> Callable[[Function], Function]: ...
def agent(
    name: str | Function | None = None, *, input: Input | None = None, warm: Callable[[], object] | None = None
) -> Function | Callable[[Function], Function]:
    """Mark a function as an agent. `name` defaults to that of the function.

    Parameters after the run receive the job's input: one pydantic model, or fields with type hints. For a function of
    the run only, `input` is a JSON schema or a pydantic model for the job's input; by default that of a chat. `warm` is
    called once, when the worker starts, before any job. Raises SettingsInvalid.
    """
    if callable(name):
        return agent()(name)

    def mark(function: Function) -> Function:
        setattr(function, _MARK, _agent(name, function, input, warm))
        return function

    return mark


def _agent(name: str | None, function: AgentFunction, input: Input | None, warm: Callable[[], object] | None) -> Agent:
    takes = input_of(function)
    named = name or function.__name__
    if takes is None:
        return Agent(named, function, _schema(input), warm)
    if input is not None:
        raise SettingsInvalid(f"@agent {function.__name__}: type hints or input=, not both")
    return Agent(named, bound(function, takes), takes.schema, warm)


def _schema(input: Input | None) -> Schema:
    if input is None:
        return CHAT_INPUT
    schema = input.model_json_schema() if inspect.isclass(input) else input
    try:
        check_schema(schema)
    except ValueError as error:
        raise SettingsInvalid(f"@agent input= is no JSON schema: {error}") from None
    return schema


class Registry(dict[str, Agent]):
    """The agents of this worker by name."""

    def __init__(self, agents: Iterable[Agent] = ()) -> None:
        super().__init__()
        for found in agents:
            known = self.setdefault(found.name, found)
            if known.function is not found.function:
                places = f"{known.function.__module__} and {found.function.__module__}"
                raise SettingsInvalid(f"HOLDFAST_AGENTS: two agents are named {found.name!r}, in {places}")

    @classmethod
    def load(cls, modules: Iterable[str], on_broken: OnBroken | None = None) -> Registry:
        """Import the modules and collect their agents.

        The error of an unusable module is passed to `on_broken`, and the module is skipped. Raises SettingsInvalid for
        a missing module, and without `on_broken` ModuleBroken for an unusable one."""
        sources = (partial(_agents_in, name) for name in modules)
        return cls(_usable(sources, on_broken))

    @classmethod
    def installed(cls, on_broken: OnBroken | None = None) -> Registry:
        """Load the agents of installed packages, as `load` does. Errors name the entry point."""
        sources = (partial(_agents_at, entry.name, entry.value) for entry in entry_points(group=GROUP))
        return cls(_usable(sources, on_broken))

    def warm(self) -> None:
        """Call the `warm` functions of the agents. A failure only makes the first job slower."""
        for found in self.values():
            try:
                if found.warm is not None:
                    found.warm()
            except Exception as error:  # the agent may still work
                log.warning("agent could not be warmed", agent=found.name, exc_info=error)

    def schemas(self) -> dict[str, Schema]:
        return {name: found.schema for name, found in self.items()}


def _usable(sources: Iterable[Callable[[], list[Agent]]], on_broken: OnBroken | None) -> Iterator[Agent]:
    for source in sources:
        try:
            yield from source()
        except ModuleBroken as error:
            if on_broken is None:
                raise
            on_broken(error)


def _import(name: str, origin: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except SettingsInvalid as error:  # raised by @agent
        raise ModuleBroken(f"{origin}: {error}{_place(error)}") from error
    except (Exception, SystemExit) as error:
        kind = SettingsInvalid if _is_missing(name, error) else ModuleBroken
        raise kind(f"{origin} cannot be imported: {type(error).__name__}: {error}{_place(error)}") from error


def _is_missing(name: str, error: BaseException) -> bool:
    """Return whether the module itself, or a package around it, does not exist."""
    return isinstance(error, ModuleNotFoundError) and error.name is not None and f"{name}.".startswith(f"{error.name}.")


def _place(error: BaseException) -> str:
    """Return the place in the module's own code that raised; a SyntaxError includes it already."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_ours(frame.filename)]
    return f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""


def _is_ours(filename: str) -> bool:
    return filename.startswith("<") or Path(filename).parent in (Path(__file__).parent, Path(importlib.__file__).parent)


def _agents_in(name: str) -> list[Agent]:
    return _agents_of(_import(name, f"HOLDFAST_AGENTS: {name}"))


def _agents_of(module: ModuleType) -> list[Agent]:
    marks = (getattr(value, _MARK, None) for value in vars(module).values())
    found = [mark for mark in marks if isinstance(mark, Agent)]
    if not found and not tools_of(module.__name__):
        raise ModuleBroken(f"HOLDFAST_AGENTS: {module.__name__} has no agent: mark a function with @agent")
    return found


def _agents_at(name: str, place: str) -> list[Agent]:
    """Return the agents of `module`, or the one of `module:function`."""
    origin = f"entry point {GROUP} {name}"
    module, _, attribute = place.partition(":")
    imported = _import(module, origin)
    if not attribute:
        return _agents_of(imported)
    mark = getattr(getattr(imported, attribute, None), _MARK, None)
    if not isinstance(mark, Agent):
        raise ModuleBroken(f"{origin}: {place} is no agent: mark a function with @agent")
    return [mark]
