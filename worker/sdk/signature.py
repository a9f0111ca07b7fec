"""Derive the schema of a job's input from the parameters of an agent's function, and build the arguments from the
input.

A single parameter that is a pydantic model receives the whole input. Other parameters are the fields of an object.
"""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from inspect import Parameter
from types import SimpleNamespace
from typing import Any

from holdfast.shared.errors import SettingsInvalid
from holdfast.worker.attempt.thread_run import ThreadRun
from holdfast.worker.sdk.run import AgentError, Run
from holdfast.worker.sdk.tools import faults
from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.errors import PydanticUserError

Function = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Input:
    """The input of a function. `whole`: the parameter that receives the validated `model`; None: one parameter per
    field."""

    model: type[BaseModel]
    schema: dict[str, Any]
    whole: str | None

    def arguments(self, given: Any) -> dict[str, Any]:
        """Return the keyword arguments for a job's input. Raises AgentError for an input that the model rejects though
        the schema accepts it."""
        try:
            value = self.model.model_validate(given)
        except ValidationError as error:
            raise AgentError("input_invalid", faults(error)) from None
        if self.whole is not None:
            return {self.whole: value}
        return {name: getattr(value, name) for name in self.model.model_fields}


def input_of(function: Function) -> Input | None:
    """Return the function's input; None when it takes only the run. Raises SettingsInvalid when it cannot be an
    agent."""
    try:
        taken = _taken(function)
        return _input(function, taken) if taken else None
    except (PydanticUserError, NameError, TypeError, ValueError) as error:
        name = getattr(function, "__name__", type(function).__name__)
        raise SettingsInvalid(f"@agent {name}: {str(error).partition(chr(10))[0]}") from None


def bound(function: Function, takes: Input) -> Function:
    """Wrap the function in one of the same kind that takes only the run."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def awaited(run: Run) -> Any:
            return await function(run, **takes.arguments(run.input))

        return awaited
    if inspect.isasyncgenfunction(function):

        @functools.wraps(function)
        async def streamed(run: Run) -> AsyncIterator[str]:
            async with aclosing(function(run, **takes.arguments(run.input))) as pieces:
                async for piece in pieces:
                    try:
                        yield piece
                    except TypeError as error:  # it is no text: say so where the agent yields it
                        await pieces.athrow(error)
                        raise

        return streamed

    @functools.wraps(function)
    def called(run: ThreadRun) -> Any:
        return function(run, **takes.arguments(run.input))

    return called


def _taken(function: Function) -> list[Parameter]:
    """Return the parameters after the run. Raises TypeError for one that an input cannot fill."""
    if not inspect.isroutine(function):
        raise TypeError("an agent is a function")
    parameters = list(inspect.signature(function).parameters.values())
    if not parameters or not _takes_run(function, parameters[0]):
        raise TypeError("the first parameter of an agent is its Run")
    for parameter in parameters[1:]:
        named = parameter.kind in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.KEYWORD_ONLY)
        if not named or parameter.name.startswith("_"):
            raise TypeError(f"{parameter} cannot be filled from a job's input: give each field a name")
        if parameter.annotation is Parameter.empty:
            raise TypeError(f"{parameter.name} needs a type hint")
    return parameters[1:]


def _takes_run(function: Function, first: Parameter) -> bool:
    if first.kind not in (Parameter.POSITIONAL_OR_KEYWORD, Parameter.POSITIONAL_ONLY):
        return False
    try:
        hint = _hints(function, [first]).get(first.name)
    except NameError:  # imported under TYPE_CHECKING only
        return True
    return hint is Any or not inspect.isclass(hint) or issubclass(hint, Run | ThreadRun)


def _input(function: Function, taken: list[Parameter]) -> Input:
    hints = _hints(function, taken)
    first = hints[taken[0].name]
    if len(taken) == 1 and inspect.isclass(first) and issubclass(first, BaseModel):
        return Input(first, first.model_json_schema(), taken[0].name)
    fields: dict[str, Any] = {
        parameter.name: (hints[parameter.name], ... if parameter.default is Parameter.empty else parameter.default)
        for parameter in taken
    }
    model = create_model(function.__name__, __config__=ConfigDict(extra="forbid"), **fields)
    return Input(model, model.model_json_schema(), None)


def _hints(function: Function, parameters: list[Parameter]) -> dict[str, Any]:
    """Return the type hints of these parameters. That of the result may be importable under TYPE_CHECKING only."""
    written = {each.name: each.annotation for each in parameters if each.annotation is not Parameter.empty}
    known = getattr(function, "__globals__", {})
    return typing.get_type_hints(SimpleNamespace(__annotations__=written), globalns=known, include_extras=True)
