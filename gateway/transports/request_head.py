"""Limits of a request's head, which arrives in pieces that may also contain parts of other messages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from holdfast.gateway.errors import HeadTooLarge, RequestMalformed
from holdfast.shared.errors import HoldfastError

MAX_HEADER_FIELDS = 100

HeaderFields = Sequence[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class ConnectionLimits:
    """Limits of one connection: bytes of a request head, seconds from its first to its last byte, and seconds without a
    request."""

    max_head_bytes: int = 32 * 1024
    head_seconds: float = 10
    idle_seconds: float = 60


class RequestHead:
    """The size of the head that is being received on a connection, and the checks of a complete one."""

    __slots__ = ("_max_bytes", "_mixed_bytes", "_piece_bytes", "_received_bytes")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._received_bytes = 0  # since the last message, without the piece in which that one ended
        self._piece_bytes = 0
        self._mixed_bytes = 0  # size of the piece with the end of a message and the start of this head

    def add_piece(self, size: int) -> None:
        """Count a received piece."""
        self._piece_bytes = size
        self._received_bytes += size

    def continue_with_next_piece(self) -> None:
        """Note that the last piece ended within the head."""
        self._mixed_bytes = self._mixed_bytes or (0 if self._received_bytes else self._piece_bytes)

    def end(self) -> None:
        """Start to count anew: the head is complete."""
        self._received_bytes = self._mixed_bytes = 0

    def end_message(self) -> None:
        """Start to count anew: what was received so far belongs to a body."""
        self._received_bytes = 0

    def is_too_large(self, fields: HeaderFields = ()) -> bool:
        """Return whether an incomplete head exceeds the limits already."""
        return self._received_bytes > self._max_bytes or len(fields) > MAX_HEADER_FIELDS

    def refusal(self, url: bytes, fields: HeaderFields, http_version: str) -> HoldfastError | None:
        """Return why a complete head is refused, or None."""
        if self._size(url, fields) > self._max_bytes or len(fields) > MAX_HEADER_FIELDS:
            return self.too_large()
        if not _names_one_host(fields, http_version):
            return RequestMalformed("exactly one Host header is required")
        return None

    def too_large(self) -> HeadTooLarge:
        """Return the error that names the limits."""
        return HeadTooLarge(f"At most {self._max_bytes} bytes and {MAX_HEADER_FIELDS} header fields are allowed")

    def _size(self, url: bytes, fields: HeaderFields) -> int:
        """Return an upper bound of the bytes of the head if that is within the limit, else those of target and
        fields."""
        size = max(self._mixed_bytes + self._received_bytes, self._piece_bytes)
        if size <= self._max_bytes:
            return size
        return len(url) + sum(len(name) + len(value) + 3 for name, value in fields)


def _names_one_host(fields: HeaderFields, http_version: str) -> bool:
    """Return whether there is one Host field, or none in HTTP/1.0 (RFC 9112, section 3.2)."""
    by_name = dict(fields)
    if b"host" not in by_name:
        return http_version != "1.1"
    return len(by_name) == len(fields) or [name for name, _ in fields].count(b"host") == 1
