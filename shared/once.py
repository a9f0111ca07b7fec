"""Detect repetitions, so that a repeated condition is logged only once."""

from __future__ import annotations

from collections.abc import Hashable

REMEMBERED = 1000


class Once:
    """A bounded set: the REMEMBERED keys that were added last."""

    def __init__(self) -> None:
        self._keys: dict[Hashable, None] = {}

    def add(self, *keys: Hashable) -> bool:
        """Add keys. Returns whether the first of them is new."""
        new = keys[0] not in self._keys
        for key in keys:
            self._keys.pop(key, None)
            self._keys[key] = None
        while len(self._keys) > REMEMBERED:
            del self._keys[next(iter(self._keys))]
        return new
