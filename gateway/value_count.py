"""How many names and values a JSON text has, counted before anything is made of it."""

from __future__ import annotations

# Parsed and checked, each takes up to 200 bytes of memory, whatever the bytes that it came in, and time in every check.
# So a body takes at most 10 times its size, or 10 MB where it is smaller: dense bodies within the limit are legitimate.
MAX_VALUES = 50_000

_SLICE_BYTES = 64 * 1024
_SEPARATORS = b",:[{"


class ValueCount:
    """Counts while the text arrives, by the separators that stand before names and values. What is no JSON is counted
    correctly up to its first error, where a parser stops."""

    def __init__(self) -> None:
        self.count = 0
        self._in_string = False
        self._escape = b""  # a backslash whose character has not arrived yet

    @property
    def is_allowed(self) -> bool:
        return self.count <= MAX_VALUES

    def add(self, piece: bytes) -> None:
        """Count a piece, or as much of it as is allowed."""
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
