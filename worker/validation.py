"""What pydantic finds wrong, in words for a person. The refused values are left out: one of them may be a key."""

from __future__ import annotations

from pydantic import ValidationError


def faults(error: ValidationError) -> str:
    """`temperature: Input should be less than or equal to 2; …`, each with the place where it stands."""
    return "; ".join(f"{_place(fault['loc'])}{fault['msg']}" for fault in error.errors(include_input=False))


def _place(location: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, location))}: " if location else ""
