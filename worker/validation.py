"""What pydantic finds wrong, in words for a person. The refused values are left out: one of them may be a key."""

from __future__ import annotations

from pydantic import ValidationError

MAX_FAULTS = 20


def faults(error: ValidationError) -> str:
    """`temperature: Input should be less than or equal to 2; …`: the first ones, each with its place."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    told = [f"{_place(fault['loc'])}{fault['msg']}" for fault in found[:MAX_FAULTS]]
    return "; ".join(told if len(found) <= MAX_FAULTS else [*told, f"and {len(found) - MAX_FAULTS} more"])


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""
