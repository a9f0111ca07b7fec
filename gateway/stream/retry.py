"""When a client that is sent away comes again."""

from __future__ import annotations

import random


def retry_ms() -> int:
    """A time that is spread, so that not all come at once."""
    return random.randint(1000, 5000)  # noqa: S311 - spreads, hides nothing
