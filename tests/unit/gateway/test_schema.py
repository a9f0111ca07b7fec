from __future__ import annotations

import time
from typing import Any

import orjson
import pytest
from holdfast.gateway.errors import BodyInvalid
from holdfast.gateway.schema import check

TREE = {
    "$defs": {
        "leaf": {
            "type": "object",
            "required": ["op"],
            "properties": {"op": {"const": "leaf"}, "n": {"type": "integer"}},
        },
        "and": {
            "type": "object",
            "properties": {"op": {"const": "and"}, "left": {"$ref": "#/$defs/node"}, "right": {"$ref": "#/$defs/node"}},
            "required": ["op", "left", "right"],
        },
        "node": {"oneOf": [{"$ref": "#/$defs/and"}, {"$ref": "#/$defs/leaf"}]},
    },
    "$ref": "#/$defs/node",
}
LEAF = {"op": "leaf", "n": 1}


def problems(value: Any, schema: Any) -> list[tuple[str, str]]:
    try:
        check(value, orjson.dumps(schema), "input")
    except BodyInvalid as refused:
        return refused.problems
    return []


STRING, NULL = {"type": "string"}, {"type": "null"}
NO_STRING, NO_NULL = "must be of type string", "must be of type null"
MATCH = "must match the schema "
DEEP = {"not": {"enum": ["x" * 500]}}


@pytest.mark.parametrize(
    ("schema", "value", "found"),
    [
        (STRING, 5, {"": NO_STRING}),
        ({"const": [1]}, [2], {"": "must be [1]"}),
        ({"enum": ["a", "b"]}, "c", {"": 'must be one of ["a","b"]'}),
        ({"uniqueItems": True}, [1, 2, 1.0], {"": "must not have equal items"}),
        ({"minItems": 2, "items": NULL}, [1], {"": "must have at least 2 items", ".0": NO_NULL}),
        ({"pattern": "^a+$"}, "b", {"": "must match the pattern ^a+$"}),
        ({"not": STRING}, "b", {"": MATCH + '{"not":{"type":"string"}}'}),
        (DEEP, "x" * 500, {"": (MATCH + orjson.dumps(DEEP).decode())[:200]}),
        ({"required": ["a", "b"]}, {"a": 1}, {"": "b is required"}),
        ({"properties": {"a": False}}, {"a": 1}, {".a": "must be left out"}),
        ({"properties": {"a/b ~é%": STRING}}, {"a/b ~é%": 1}, {".a/b ~é%": NO_STRING}),
        ({"additionalProperties": False, "properties": {"a": {}}}, {"a": 1, "b": 1}, {".b": "unknown field"}),
        ({"additionalProperties": STRING}, {"x": 1}, {".x": NO_STRING}),
        (
            {"patternProperties": {"^a": {}}, "additionalProperties": False},
            {"b": 1},
            {"": MATCH + '{"patternProperties":{"^a":{}},"additionalProperties":false}'},
        ),
        ({"prefixItems": [STRING], "items": NULL}, [1, 1], {".0": NO_STRING, ".1": NO_NULL}),
        ({"$schema": "http://json-schema.org/draft-07/schema#", "items": [STRING]}, [1], {".0": NO_STRING}),
        ({"allOf": [{"minimum": 5}, {"properties": {"a": STRING}}]}, 3, {"": "must be at least 5"}),
        ({"anyOf": [STRING, {"items": STRING}]}, [1], {".0": NO_STRING}),
        ({"oneOf": [{"minimum": 1}, {"minimum": 2}]}, 3, {"": MATCH + '{"oneOf":[{"minimum":1},{"minimum":2}]}'}),
        (
            {"if": STRING, "then": {"minLength": 2}},
            "a",
            {"": MATCH + '{"if":{"type":"string"},"then":{"minLength":2}}'},
        ),
        ({"unevaluatedProperties": False}, {"a": 1}, {"": MATCH + '{"unevaluatedProperties":false}'}),
        (TREE, {"op": "and", "left": LEAF, "right": LEAF}, {}),
        (TREE, {"op": "and", "left": LEAF, "right": {"op": "leaf", "n": "x"}}, {".right.n": "must be of type integer"}),
    ],
)
def test_what_is_wrong_is_named(schema: Any, value: Any, found: dict[str, str]) -> None:
    assert problems(value, schema) == [(f"input{field}", allowed) for field, allowed in found.items()]


@pytest.mark.parametrize(
    "schema",
    [
        {"$ref": "https://127.0.0.1:1/schema.json"},
        {"$ref": "#/$defs/nowhere"},
        {"$schema": "https://127.0.0.1:1/unheard-of", "type": "string"},
        {"type": "no type"},
        {"pattern": "(?=a)"},
    ],
)
def test_a_schema_that_cannot_be_compiled_refuses_nothing_and_fetches_nothing(schema: Any) -> None:
    assert problems({"a": 1}, schema) == []


def test_only_the_first_twenty_problems_are_named() -> None:
    assert len(problems([0] * 1000, {"items": {"type": "string"}})) == 20


def test_the_search_for_what_is_wrong_with_alternatives_in_alternatives_ends_soon() -> None:
    either = {"anyOf": [{"items": {"$ref": "#/$defs/either"}}, {"items": {"$ref": "#/$defs/either"}, "maxItems": 9}]}
    schema = {"$defs": {"either": {"type": "array", **either}}, "$ref": "#/$defs/either"}
    value: Any = "no array"
    for _ in range(40):
        value = [value]
    before_s = time.thread_time()
    assert problems(value, schema)
    assert time.thread_time() - before_s < 1
