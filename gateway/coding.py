"""Content codings of responses: negotiation and encoders. Pure."""

from __future__ import annotations

import re
import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple, Protocol

import zstandard

MAX_FIELD_BYTES = 1024
_REMEMBERED = 256
_RANGE = re.compile(rb"([0-9!#-'*+.^-z|~-]+)[ \t]*(?:;[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?))?")
# Small windows, since each compressed stream has one: 30 KiB for gzip, 90 KiB for zstd. The defaults of level 1 take
# more than twice that and compress logs no better.
_GZIP_LEVEL, _GZIP_WINDOW_BITS, _GZIP_MEMORY = 1, 16 + 12, 4  # 16 asks for gzip's header and trailer
_ZSTD = zstandard.ZstdCompressionParameters.from_level(1, window_log=14, hash_log=12, chain_log=12)


class Encoder(Protocol):
    """Encodes one body. The output so far always decodes to all of the input so far."""

    def encode(self, data: bytes, *, last: bool) -> bytes:
        """Encode the next piece; `last` ends the body."""


class _Gzip:
    __slots__ = ("_compressor",)

    def __init__(self) -> None:
        self._compressor = zlib.compressobj(_GZIP_LEVEL, zlib.DEFLATED, _GZIP_WINDOW_BITS, _GZIP_MEMORY)

    def encode(self, data: bytes, *, last: bool) -> bytes:
        encoded = self._compressor.compress(data)
        return encoded + self._compressor.flush(zlib.Z_FINISH if last else zlib.Z_SYNC_FLUSH)


class _Zstd:
    __slots__ = ("_compressor",)

    def __init__(self) -> None:
        self._compressor = zstandard.ZstdCompressor(compression_params=_ZSTD).compressobj()

    def encode(self, data: bytes, *, last: bool) -> bytes:
        end = zstandard.COMPRESSOBJ_FLUSH_FINISH if last else zstandard.COMPRESSOBJ_FLUSH_BLOCK
        return self._compressor.compress(data) + self._compressor.flush(end)


@dataclass(frozen=True, slots=True)
class Coding:
    """A content coding and its name in `Content-Encoding`."""

    name: bytes
    encoder: Callable[[], Encoder]


ZSTD, GZIP = Coding(b"zstd", _Zstd), Coding(b"gzip", _Gzip)


class Accepted(NamedTuple):
    """What a client accepts: the best supported coding, if any, and whether an unencoded body is acceptable."""

    coding: Coding | None
    identity: bool


def accepted(headers: Iterable[tuple[bytes, bytes]]) -> Accepted:
    """Choose a coding by Accept-Encoding (RFC 9110 12.5.3). zstd must be named; `*` means gzip."""
    field = b",".join(value for name, value in headers if name == b"accept-encoding")
    return _choose(field) if 0 < len(field) <= MAX_FIELD_BYTES else _ANYTHING


def stream_coding(headers: Iterable[tuple[bytes, bytes]], policy: str, *, ends: bool) -> Coding | None:
    """Choose the coding of a stream. By the policy `ended` only streams that end soon have one: an encoder takes more
    memory than a viewer."""
    if policy == "off" or (policy == "ended" and not ends):
        return None
    return accepted(headers).coding


_ANYTHING = Accepted(None, identity=True)


@lru_cache(_REMEMBERED)
def _choose(field: bytes) -> Accepted:
    weights = _weights(field)
    others = weights.get(b"*", 0.0)
    candidates = [(weights.get(b"zstd", 0.0), ZSTD), (weights.get(b"gzip", weights.get(b"x-gzip", others)), GZIP)]
    weight, coding = max(candidates, key=lambda candidate: candidate[0])
    wanted = weight > 0 and weight >= weights.get(b"identity", 0.0)
    identity = weights.get(b"identity", weights.get(b"*", 1.0)) > 0
    return Accepted(coding if wanted else None, identity)


def _weights(field: bytes) -> dict[bytes, float]:
    """Return the weight of each named coding. Malformed elements are ignored."""
    found = (_RANGE.fullmatch(element.strip(b" \t")) for element in field.lower().split(b","))
    return {match[1]: float(match[2] or 1) for match in found if match is not None}
