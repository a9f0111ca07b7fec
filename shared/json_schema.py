"""Validate with JSON Schema, by jsonschema-rs. Draft 2020-12, unless `$schema` names another.

Validation is linear in the size of the value for every schema: `uniqueItems` hashes, a value that `$ref` reaches twice
is checked once, and patterns have neither look-around nor back references, as in pydantic and RE2.
"""

from __future__ import annotations

from typing import Any

from jsonschema_rs import RegexOptions, Registry, ValidationError, Validator, validator_for

__all__ = ["Registry", "ValidationError", "Validator", "check_schema", "compile_schema"]


def compile_schema(schema: dict[str, Any], registry: Registry | None = None) -> Validator:
    """Compile a schema. Referenced documents are looked up in the registry and never fetched.

    Raises ValidationError when it is no schema, a reference is unresolved, or a pattern is unsupported."""
    return validator_for(
        schema, registry=registry, offline=True, validate_formats=False, pattern_options=RegexOptions()
    )


def check_schema(schema: dict[str, Any]) -> None:
    """Raise ValueError with the reason unless this is a schema. References to other documents are allowed."""
    try:
        compile_schema(schema)
    except ValidationError as error:
        if error.kind.name == "$ref":
            return
        place = "".join(f"{part}: " for part in error.instance_path)
        hint = " without look-around and back references" if error.kind.name == "format" else ""
        raise ValueError(f"{place}{error.message}{hint}") from None
