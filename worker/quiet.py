"""Frameworks that report their use to their makers unless told otherwise, before they are imported."""

from __future__ import annotations

import os

NO_TRACING = "OPENAI_AGENTS_DISABLE_TRACING"
_OFF = {"HAYSTACK_TELEMETRY_ENABLED": "false", NO_TRACING: "true"}


def quieten() -> None:
    """Tell them. What the environment says already is left as it is."""
    for name, value in _OFF.items():
        os.environ.setdefault(name, value)
