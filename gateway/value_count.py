"""Counts the names and values of a JSON text before it is parsed."""

from __future__ import annotations

# Parsed, each takes up to 200 bytes of memory, whatever its size in the body, and CPU time in every check. With this
# limit a body takes at most 10 times its size, or 10 MB if that is more.
MAX_VALUES = 50_000

_SLICE_BYTES = 64 * 1024
_SEPARATORS = b",:[{"


class ValueCount:
    """Counts the separators in front of names and values while the text arrives.

    For invalid JSON the count is correct up to the first error, where a parser stops."""

    def __init__(self) -> None:
        self.count = 0
        self._in_string = False
        self._escape = b""  # a backslash at the end of the last piece

    @property
    def is_allowed(self) -> bool:
        return self.count <= MAX_VALUES

    def add(self, piece: bytes) -> None:
        """Count the next piece; stops above the limit."""
        for start in range(0, len(piece), _SLICE_BYTES):
            if self.is_allowed:
                self._add(self._escape + piece[start : start + _SLICE_BYTES])

    def _add(self, text: bytes) -> None:
        backslashes = len(text) - len(text.rstrip(b"\\"))
        whole = len(text) - backslashes % 2
        self._escape = text[whole:]
        parts = text[:whole].replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')
        outside = b"".join(parts[self._in_string :: 2])
        self.count += len(outside) - len(outside.translate(None, _SEPARATORS))
        self._in_string ^= len(parts) % 2 == 0
