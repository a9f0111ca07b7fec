"""Content-Type values (RFC 9110 8.3.1). Pure."""

from __future__ import annotations

import re

_NAME = r"[!#$%&'*+.^_`|~0-9a-z-]+"
_TYPE = re.compile(rf"{_NAME}/{_NAME}")
_PARAMETER = re.compile(rf'[ \t]*;[ \t]*(?:({_NAME})=({_NAME}|"(?:[^"\\]|\\.)*"))?')


def parse_media_type(value: str) -> tuple[str, list[tuple[str, str]]] | None:
    """Parse a value into its type and its parameters, all in lower case and without quotes. None when malformed."""
    text = value.strip(" \t").lower()
    found = _TYPE.match(text)
    if found is None:
        return None
    parameters = []
    at = found.end()
    while at < len(text):
        parameter = _PARAMETER.match(text, at)
        if parameter is None:
            return None
        if parameter[1]:
            parameters.append((parameter[1], _unquoted(parameter[2])))
        at = parameter.end()
    return found[0], parameters


def _unquoted(value: str) -> str:
    return re.sub(r"\\(.)", r"\1", value[1:-1]) if value.startswith('"') else value
