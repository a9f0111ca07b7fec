"""Validate job inputs and answers against the JSON schemas of agents and questions, with readable errors."""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import lru_cache
from itertools import islice
from typing import Any, NamedTuple
from urllib.parse import quote, unquote

import orjson
from holdfast.gateway.errors import MAX_PROBLEMS, BodyInvalid
from holdfast.shared.json_schema import Registry, ValidationError, Validator, compile_schema

KNOWN_SCHEMAS = 256
# Limits of the search for causes; beyond them the place reached so far is reported.
SEARCH_CPU_SECONDS = 0.003
SEARCH_DEPTH = 50

_URI = "urn:holdfast:schema"
# Keywords that demand nothing by themselves, and those whose subschemas are searched.
_NOT_ALONE = (
    *("$defs", "$ref", "additionalProperties", "allOf", "anyOf", "definitions", "else", "if", "items", "maxContains"),
    *("minContains", "oneOf", "patternProperties", "prefixItems", "properties", "required", "then"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
_WORDS = {
    "const": "must be {}",
    "enum": "must be one of {}",
    "maximum": "must be at most {}",
    "maxItems": "must have at most {} items",
    "maxLength": "must have at most {} characters",
    "minimum": "must be at least {}",
    "minItems": "must have at least {} items",
    "minLength": "must have at least {} characters",
    "pattern": "must match the pattern {}",
    "type": "must be of type {}",
    "uniqueItems": "must not have equal items",
}


def check(value: Any, schema: bytes, root: str) -> None:
    """Check a value against an encoded JSON schema.

    A schema that cannot be compiled, or refers to other documents, allows every value.

    Args:
        root: the name of the value itself in errors.

    Raises:
        BodyInvalid: names the fields that the schema does not allow.
    """
    rules = _rules(schema)
    if rules is None:
        return
    whole = Place("", rules.schema, (root,))
    if not rules.allow(whole, value):
        problems = Search(rules).problems(whole, value)
        raise BodyInvalid([(".".join(path), allowed) for path, allowed in islice(problems, MAX_PROBLEMS)])


def allows(value: Any, schema: bytes) -> bool:
    """Return whether an encoded JSON schema allows a value."""
    rules = _rules(schema)
    return rules is None or rules.allow(Place("", rules.schema, ()), value)


@lru_cache(KNOWN_SCHEMAS)
def _rules(schema: bytes) -> Rules | None:
    try:
        return Rules(orjson.loads(schema))
    except ValidationError:
        return None


class Place(NamedTuple):
    """A subschema, its JSON pointer, and the path of the value that it applies to."""

    pointer: str
    schema: Any
    path: tuple[str, ...]

    def at(self, *names: str | int) -> Place:
        """Return the subschema under these names, for the same value."""
        pointer, schema = self.pointer, self.schema
        for name in names:
            pointer += "/" + quote(str(name).replace("~", "~0").replace("/", "~1"), safe="~")
            schema = schema[name]
        return Place(pointer, schema, self.path)

    def inside(self, step: str | int | None) -> Place:
        """Return the same subschema for a member or item of the value; None: for the value itself."""
        return self if step is None else self._replace(path=(*self.path, str(step)))


# A subschema, the member or item of the value that it must allow (None: the value itself), and that part of the value.
Part = tuple[Place, "str | int | None", Any]


class Problem(NamedTuple):
    """The path of an invalid value, and what is allowed."""

    path: tuple[str, ...]
    allowed: str


class Rules:
    """A schema whose subschemas are compiled on first use."""

    def __init__(self, schema: Any) -> None:
        self._compiled: dict[str, Validator] = {"": compile_schema(schema)}
        self.schema = schema
        self._registry = Registry([(_URI, schema)])  # would fetch other documents; compiling has excluded them

    def allow(self, place: Place, value: Any) -> bool:
        """Return whether this subschema allows the value."""
        validator = self._compiled.get(place.pointer)
        if validator is None:
            validator = compile_schema({"$ref": f"{_URI}#{place.pointer}"}, self._registry)
            self._compiled[place.pointer] = validator
        return validator.is_valid(value)

    def target(self, place: Place) -> Place | None:
        """Return the target of a subschema's `$ref` if it is a JSON pointer within the schema, else None."""
        document, _, pointer = place.schema["$ref"].partition("#")
        found = Place("", self.schema, place.path)
        try:
            for name in pointer.split("/")[1:]:
                found = found.at(unquote(name).replace("~1", "/").replace("~0", "~"))
        except (KeyError, TypeError):
            return None
        return None if document or not pointer.startswith("/") else found


class Search:
    """A search for the causes of an invalid value, bounded in CPU time and depth."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._until_s = time.thread_time() + SEARCH_CPU_SECONDS

    def problems(self, place: Place, value: Any, depth: int = 0) -> Iterator[Problem]:
        """Yield the problems of a value that this subschema does not allow, at least one."""
        found = False
        for problem in self._found(place, value, depth):
            found = True
            yield problem
        if not found:
            yield Problem(place.path, _demand(place.schema))

    def _found(self, place: Place, value: Any, depth: int) -> Iterator[Problem]:
        yield from _own(place, value)
        if not isinstance(place.schema, dict) or depth == SEARCH_DEPTH:
            return
        for part, step, inner in self._parts(place, value):
            if self._is_over():
                return
            if not self._rules.allow(part, inner):
                yield from self.problems(part.inside(step), inner, depth + 1)
        for keyword in ("anyOf", "oneOf"):
            yield from self._nearest(place, keyword, value, depth)

    def _parts(self, place: Place, value: Any) -> Iterator[Part]:
        if "$ref" in place.schema and (target := self._rules.target(place)) is not None:
            yield target, None, value
        for index in range(len(place.schema.get("allOf", ()))):
            yield place.at("allOf", index), None, value
        if isinstance(value, dict):
            yield from _members(place, value)
        if isinstance(value, list):
            yield from _items(place, value)

    def _nearest(self, place: Place, keyword: str, value: Any, depth: int) -> Iterator[Problem]:
        """Yield the problems of the alternative that fits best: the one that fails deepest inside the value."""
        nearest: list[Problem] = []
        for index in range(len(place.schema.get(keyword, ()))):
            part = place.at(keyword, index)
            if self._is_over() or self._rules.allow(part, value):
                continue
            problems = list(islice(self.problems(part, value, depth + 1), MAX_PROBLEMS))
            if not nearest or len(problems[0].path) > len(nearest[0].path):
                nearest = problems
        yield from nearest

    def _is_over(self) -> bool:
        return time.thread_time() > self._until_s


def _members(place: Place, value: dict[str, Any]) -> Iterator[Part]:
    named = place.schema.get("properties", {})
    for name in (name for name in named if name in value):
        yield place.at("properties", name), name, value[name]
    if isinstance(place.schema.get("additionalProperties"), dict) and "patternProperties" not in place.schema:
        others = place.at("additionalProperties")
        yield from ((others, name, value[name]) for name in value if name not in named)


def _items(place: Place, value: list[Any]) -> Iterator[Part]:
    """Yield the subschemas of items. Before draft 2020-12 `items` could be an array, as `prefixItems` is now."""
    keyword = "items" if isinstance(place.schema.get("items"), list) else "prefixItems"
    first = place.schema.get(keyword, [])
    yield from ((place.at(keyword, index), index, item) for index, item in enumerate(value[: len(first)]))
    if keyword == "prefixItems" and "items" in place.schema:
        others = place.at("items")
        yield from ((others, index, value[index]) for index in range(len(first), len(value)))


def _own(place: Place, value: Any) -> Iterator[Problem]:
    """Yield the violations of the keywords without subschemas."""
    if not isinstance(place.schema, dict):
        yield Problem(place.path, "must be left out")
        return
    if isinstance(value, dict):
        missing = (name for name in place.schema.get("required", ()) if name not in value)
        yield from (Problem(place.path, f"{name} is required") for name in missing)
        yield from (Problem((*place.path, name), "unknown field") for name in _unknown(place, value))
    for keyword, wanted in place.schema.items():
        if keyword not in _NOT_ALONE and not _satisfies(value, keyword, wanted):
            text = wanted if isinstance(wanted, str) else orjson.dumps(wanted).decode()
            demand = _WORDS[keyword].format(text) if keyword in _WORDS else _demand({keyword: wanted})
            yield Problem(place.path, demand)


def _demand(schema: Any) -> str:
    """Describe a subschema by its JSON, where there is no text for it."""
    return f"must match the schema {orjson.dumps(schema).decode()}"


def _unknown(place: Place, value: dict[str, Any]) -> Iterator[str]:
    """Yield fields that the subschema does not name. With `patternProperties` only the validator can tell."""
    if place.schema.get("additionalProperties") is False and "patternProperties" not in place.schema:
        known = place.schema.get("properties", {})
        yield from (name for name in value if name not in known)


def _satisfies(value: Any, keyword: str, wanted: Any) -> bool:
    try:
        return compile_schema({keyword: wanted}).is_valid(value)
    except ValidationError:  # it refers to another subschema
        return True
