"""Reconnection times of clients whose streams the gateway refuses or ends."""

from __future__ import annotations

import random


def retry_ms() -> int:
    """Return a jittered time in ms, so that clients do not reconnect all at once."""
    return random.randint(1000, 5000)  # noqa: S311 - jitter, not a secret
