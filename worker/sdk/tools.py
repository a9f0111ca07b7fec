"""Tools that models may call: functions marked with `@tool`, and two built-in ones."""

from __future__ import annotations

import ast
import asyncio
import inspect
import math
import operator
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeVar, overload
from zoneinfo import ZoneInfo

from pydantic import Field, TypeAdapter, ValidationError, validate_call
from pydantic_core import to_jsonable_python

Schema = dict[str, Any]
ToolFunction = Callable[..., Any]
Function = TypeVar("Function", bound=ToolFunction)

MAX_EXPRESSION_CHARS = 200
MAX_EXPRESSION_DEPTH = 32
MAX_INTEGER_BITS = 1024
MAX_ROUND_DIGITS = 20
MAX_FAULTS = 20
# Above this JavaScript represents JSON numbers inexactly.
_EXACT_INTEGER = 2**53


class ArgumentsInvalid(ValueError):
    """The arguments do not match the tool's schema."""


class ToolUnknown(LookupError):
    """No tool has this name."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool: its description for models, and its function. `schema`: the JSON schema of its arguments."""

    name: str
    description: str
    schema: Schema
    function: ToolFunction

    async def call(self, arguments: dict[str, Any]) -> Any:
        """Run the tool, a synchronous one in a thread. Returns JSON.

        Raises ArgumentsInvalid for arguments that do not match the schema, and all exceptions of the function."""
        try:
            if inspect.iscoroutinefunction(self.function):
                return to_jsonable_python(await self.function(**arguments))
            return to_jsonable_python(await asyncio.to_thread(self.function, **arguments))
        except ValidationError as error:
            raise ArgumentsInvalid(faults(error)) from error


_tools: dict[str, Tool] = {}


@overload
def tool(function: Function) -> Function: ...
@overload
def tool(*, name: str) -> Callable[[Function], Function]: ...
def tool(function: ToolFunction | None = None, *, name: str | None = None) -> Any:
    """Mark a function as a tool. `name` defaults to that of the function, which may be async.

    Its docstring is the description for models; its type hints become the schema of its arguments.
    """

    def mark(marked: ToolFunction) -> ToolFunction:
        offered = name or marked.__name__
        _tools[offered] = Tool(offered, inspect.getdoc(marked) or "", _schema(marked), validate_call(marked))
        return marked

    return mark if function is None else mark(function)


def find_tools(names: Iterable[str]) -> dict[str, Tool]:
    """Return the tools of these names. Raises ToolUnknown, which lists the known ones."""
    found = {}
    for name in names:
        if name not in _tools:
            raise ToolUnknown(f"there is no tool {name!r}; there are: {', '.join(sorted(_tools))}")
        found[name] = _tools[name]
    return found


def tools_of(module: str) -> list[str]:
    """Return the names of the tools marked in a module, or in modules of that package."""
    homes = {name: known.function.__module__ for name, known in _tools.items()}
    return [name for name, home in homes.items() if f"{home}.".startswith(f"{module}.")]


def faults(error: ValidationError) -> str:
    """Describe the first errors for users, each with its location: `temperature: Input should be less than or equal to
    2; …`. The rejected values, which may be keys, are left out."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    described = [f"{_place(fault['loc'])}{fault['msg']}" for fault in found[:MAX_FAULTS]]
    return "; ".join(described if len(found) <= MAX_FAULTS else [*described, f"and {len(found) - MAX_FAULTS} more"])


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""


def _schema(function: ToolFunction) -> Schema:
    schema = TypeAdapter(function).json_schema()
    if schema.get("type") != "object" or "properties" not in schema:
        raise TypeError(f"{function.__name__}: a tool takes named arguments only, since a model passes a JSON object")
    return schema


@tool
def calculator(
    expression: Annotated[
        str, Field(description="For example (2 + 3) * sqrt(16) ** 2", max_length=MAX_EXPRESSION_CHARS)
    ],
) -> int | float | str:
    """Work out an arithmetic expression: + - * / // % ** and parentheses, pi, e, abs, ceil, cos, exp, floor, log, max,
    min, round, sin, sqrt, tan."""
    result = evaluate(expression)
    return str(result) if isinstance(result, int) and abs(result) > _EXACT_INTEGER else result


@tool
def clock(
    timezone: Annotated[str, Field(description="An IANA name such as Europe/Berlin", max_length=64)] = "UTC",
) -> str:
    """Tell the date and the time now, as ISO 8601."""
    zone = UTC if timezone == "UTC" else ZoneInfo(timezone)
    return datetime.now(zone).isoformat(timespec="seconds")


def evaluate(expression: str) -> int | float:
    """Evaluate an arithmetic expression. Raises ValueError for anything else, and for values that are too large."""
    if len(expression) > MAX_EXPRESSION_CHARS:
        raise ValueError(f"an expression has at most {MAX_EXPRESSION_CHARS} characters")
    try:
        parsed = ast.parse(expression.strip(), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise ValueError("this is not an arithmetic expression") from None
    return _value(parsed.body, MAX_EXPRESSION_DEPTH)


def _value(node: ast.expr, depth_left: int) -> int | float:
    if depth_left == 0:
        raise ValueError(f"parentheses and operators nest at most {MAX_EXPRESSION_DEPTH} deep")
    match node:
        case ast.Constant(value=int() | float() as number) if not isinstance(number, bool):
            return _bounded(number)
        case ast.Name(id=name) if name in _CONSTANTS:
            return _CONSTANTS[name]
        case ast.UnaryOp(op=op, operand=operand) if type(op) in _UNARY:
            return _bounded(_UNARY[type(op)](_value(operand, depth_left - 1)))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _BINARY:
            return _bounded(_BINARY[type(op)](_value(left, depth_left - 1), _value(right, depth_left - 1)))
        case ast.Call(func=ast.Name(id=name), args=args, keywords=[]) if name in _FUNCTIONS:
            return _bounded(_FUNCTIONS[name](*(_value(argument, depth_left - 1) for argument in args)))
    raise ValueError("only numbers, + - * / // % **, parentheses and the named functions are allowed")


def _bounded(value: Any) -> int | float:
    if isinstance(value, int) and value.bit_length() <= MAX_INTEGER_BITS:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise ValueError("the value is too large, or not a real number")


def _power(base: float, exponent: float) -> Any:
    """Compute a power whose size is bounded beforehand, since Python computes it in full."""
    if isinstance(base, int) and isinstance(exponent, int) and base.bit_length() * abs(exponent) > 2 * MAX_INTEGER_BITS:
        raise ValueError("the power is too large")
    return base**exponent


def _round(value: float, digits: int = 0) -> int | float:
    """Round with bounded digits: rounding an integer to -10**9 digits would compute that power of ten."""
    if abs(digits) > MAX_ROUND_DIGITS:
        raise ValueError(f"round takes at most {MAX_ROUND_DIGITS} digits")
    return round(value, digits) if digits else round(value)


_CONSTANTS: dict[str, float] = {"pi": math.pi, "e": math.e}
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {ast.UAdd: operator.pos, ast.USub: operator.neg}
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: _power,
}
_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "abs": abs,
    "ceil": math.ceil,
    "cos": math.cos,
    "exp": math.exp,
    "floor": math.floor,
    "log": math.log,
    "max": max,
    "min": min,
    "round": _round,
    "sin": math.sin,
    "sqrt": math.sqrt,
    "tan": math.tan,
}
