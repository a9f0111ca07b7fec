"""Chunked transfer coding, as a raw socket receives it."""

from __future__ import annotations


def unchunked(wire: bytes) -> bytes:
    """The body of a chunked response, as far as its chunks are complete."""
    body = bytearray()
    while b"\r\n" in wire:
        size, _, rest = wire.partition(b"\r\n")
        length = int(size, 16)
        if len(rest) < length + 2:
            break
        body += rest[:length]
        wire = rest[length + 2 :]
    return bytes(body)
