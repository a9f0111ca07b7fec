"""Describe pydantic's validation errors for users, without the rejected values, which may be keys."""

from __future__ import annotations

from pydantic import ValidationError

MAX_FAULTS = 20


def faults(error: ValidationError) -> str:
    """Return the first errors, each with its location: `temperature: Input should be less than or equal to 2; …`."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    described = [f"{_place(fault['loc'])}{fault['msg']}" for fault in found[:MAX_FAULTS]]
    return "; ".join(described if len(found) <= MAX_FAULTS else [*described, f"and {len(found) - MAX_FAULTS} more"])


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""
