"""Frameworks that report their use to their makers unless told otherwise, before they are imported."""

from __future__ import annotations

import os

_OFF = {"HAYSTACK_TELEMETRY_ENABLED": "false", "OPENAI_AGENTS_DISABLE_TRACING": "true"}


def quieten() -> None:
    """Tell them. What the environment says already is left as it is."""
    for name, value in _OFF.items():
        os.environ.setdefault(name, value)
