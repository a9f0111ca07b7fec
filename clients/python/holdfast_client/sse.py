"""Parse Server-Sent Events (WHATWG HTML, "Server-sent events") from bytes. Free of I/O."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from .errors import ProtocolError

MAX_EVENT_BYTES = 64 * 1024 * 1024
_LINE_END = re.compile(rb"\r\n|\n|\r")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Frame(NamedTuple):
    """What a blank line ends. `id`: None without an `id:` field. `data`: None without a `data:` field."""

    id: str | None
    data: str | None


class SseParser:
    """Parses the body of one response. Linear in its size; keeps at most one event of MAX_EVENT_BYTES.

    `retry_ms`: the newest reconnection time of the server, None before the first. `comments`: how many were read."""

    def __init__(self) -> None:
        self.retry_ms: int | None = None
        self.comments = 0
        self._partial: list[bytes] = []
        self._size = 0
        self._after_cr = False
        self._at_start = True
        self._id: str | None = None
        self._data: list[str] = []

    def feed(self, chunk: bytes) -> Iterator[Frame]:
        """Yield the frames that end in this chunk. Raises ProtocolError for an event above MAX_EVENT_BYTES."""
        if not chunk:
            return
        if self._after_cr and chunk.startswith(b"\n"):
            chunk = chunk[1:]
        self._after_cr = chunk.endswith(b"\r")
        *lines, rest = _LINE_END.split(chunk)
        for line in lines:
            self._keep(line)
            whole = b"".join(self._partial)
            self._partial.clear()
            frame = self._take(whole)
            if frame is not None:
                yield frame
        if rest:
            self._keep(rest)

    def _keep(self, piece: bytes) -> None:
        self._size += len(piece)
        if self._size > MAX_EVENT_BYTES:
            raise ProtocolError(f"an event is larger than {MAX_EVENT_BYTES} bytes")
        self._partial.append(piece)

    def _take(self, line: bytes) -> Frame | None:
        if self._at_start:
            self._at_start = False
            line = line.removeprefix(_BYTE_ORDER_MARK)
        if not line:
            return self._dispatch()
        if line.startswith(b":"):
            self.comments += 1
            self._size -= len(line)
        else:
            name, _, value = line.partition(b":")
            self._field(name, value.removeprefix(b" ").decode("utf-8", "replace"))
        return None

    def _field(self, name: bytes, value: str) -> None:
        if name == b"data":
            self._data.append(value)
        elif name == b"id" and "\0" not in value:
            self._id = value
        elif name == b"retry" and value.isascii() and value.isdigit():
            self.retry_ms = int(value[:10])

    def _dispatch(self) -> Frame | None:
        frame = Frame(self._id, "\n".join(self._data) if self._data else None)
        self._id, self._data, self._size = None, [], 0
        return None if frame == (None, None) else frame
