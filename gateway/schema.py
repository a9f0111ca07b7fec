"""Values held to the JSON schema of whoever wants them, an agent's input or a question's answer."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import orjson
from jsonschema import Draft202012Validator, ValidationError
from referencing import Registry
from referencing.exceptions import Unresolvable

from gateway.errors import BodyInvalid

MAX_PROBLEMS = 20
MAX_DETAIL = 200
KNOWN_SCHEMAS = 256


def check(value: Any, schema: bytes, root: str) -> None:
    """Raises BodyInvalid, which names every field of the value that the schema does not take; `root` is the value's own
    name. A schema that refers to others elsewhere is not followed there, and refuses nothing."""
    try:
        found = sorted(_validator(schema).iter_errors(value), key=lambda error: [str(part) for part in error.path])
    except Unresolvable:
        return
    if found:
        raise BodyInvalid([_problem(error, root) for error in found[:MAX_PROBLEMS]])


@lru_cache(KNOWN_SCHEMAS)
def _validator(schema: bytes) -> Draft202012Validator:
    # With a registry of its own it fetches nothing from the network.
    return Draft202012Validator(orjson.loads(schema), registry=Registry())


def _problem(error: ValidationError, root: str) -> tuple[str, str]:
    """The field, and what is allowed there. Of alternatives, the one that came nearest speaks."""
    nearest = max(error.context or [error], key=lambda inner: len(inner.absolute_path))
    field = ".".join([root, *(str(part) for part in nearest.absolute_path)])
    return field, _allowed(nearest)


def _allowed(error: ValidationError) -> str:
    """What the schema wants. jsonschema's own texts quote the value, which may be long."""
    rule, wanted = str(error.validator), error.validator_value
    if rule == "required":
        return str(error.message).rpartition(" is a required property")[0].strip("'") + " is required"
    words = WORDS.get(rule, f"must satisfy {rule}: {{}}")
    return words.format(wanted if isinstance(wanted, str) else orjson.dumps(wanted).decode())[:MAX_DETAIL]


WORDS = {
    "additionalProperties": "has a field that there is not",
    "enum": "must be one of {}",
    "maximum": "must be at most {}",
    "maxLength": "must have at most {} characters",
    "minimum": "must be at least {}",
    "minLength": "must have at least {} characters",
    "type": "must be of type {}",
}
