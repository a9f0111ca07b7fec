"""Disable the usage telemetry of frameworks. Must run before they are imported."""

from __future__ import annotations

import os

NO_TRACING = "OPENAI_AGENTS_DISABLE_TRACING"
_OFF = {"HAYSTACK_TELEMETRY_ENABLED": "false", NO_TRACING: "true"}


def quieten() -> None:
    """Set the environment variables that disable it, unless they are set."""
    for name, value in _OFF.items():
        os.environ.setdefault(name, value)
