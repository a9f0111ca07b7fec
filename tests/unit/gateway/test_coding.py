"""Which content coding a client gets, and that nothing is held back in it."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import pytest
import zstandard
from holdfast.gateway.coding import GZIP, ZSTD, Coding, accepted


@pytest.mark.parametrize(
    ("field", "coding", "identity"),
    [
        ("", None, True),
        ("gzip, deflate, br, zstd", ZSTD, True),
        ("gzip, deflate", GZIP, True),
        ("GZIP", GZIP, True),
        ("x-gzip", GZIP, True),
        ("br, deflate", None, True),
        ("*", GZIP, True),
        ("zstd;q=0, *", GZIP, True),
        ("gzip;q=0, *;q=0.5", None, True),
        ("zstd;q=0.5, gzip;q=0.8", GZIP, True),
        ("zstd ; q=0.8 ,\tgzip;q=0.8", ZSTD, True),
        ("gzip;q=0", None, True),
        ("gzip;q=0.000, zstd;q=0", None, True),
        ("identity, gzip;q=0.5", None, True),
        ("identity;q=0.5, gzip", GZIP, True),
        ("gzip, identity;q=0", GZIP, False),
        ("gzip, *;q=0", GZIP, False),
        ("*;q=0", None, False),
        ("*;q=0, identity", None, True),
        ("gzip;q=2, zstd;q=x", None, True),
        ("gzip;level=1, , zstd", ZSTD, True),
        ("gzip" + "," * 2000, None, True),
    ],
)
def test_the_best_coding_that_a_client_accepts_is_chosen(field: str, coding: Coding | None, identity: bool) -> None:
    assert accepted([(b"accept", b"x"), (b"accept-encoding", field.encode())]) == (coding, identity)


def test_several_fields_are_one_list_and_none_accepts_the_plain_body() -> None:
    assert accepted([(b"accept-encoding", b"gzip"), (b"accept-encoding", b"zstd")]).coding is ZSTD
    assert accepted([]) == (None, True)


DECODERS: dict[str, Callable[[], Callable[[bytes], bytes]]] = {
    "gzip": lambda: zlib.decompressobj(31).decompress,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
}


@pytest.mark.parametrize("coding", [GZIP, ZSTD], ids=lambda coding: coding.name.decode())
def test_each_piece_can_be_decoded_before_the_next_one_comes(coding: Coding) -> None:
    encoder, decode = coding.encoder(), DECODERS[coding.name.decode()]()
    pieces = [b"retry: 1000\n\n", b"", *(b"id: 1-%d\ndata: {}\n\n" % number for number in range(50)), b"x" * 100_000]
    for piece in pieces:
        assert decode(encoder.encode(piece, last=False)) == piece
    assert decode(encoder.encode(b"end", last=True)) == b"end"


@pytest.mark.parametrize("coding", [GZIP, ZSTD], ids=lambda coding: coding.name.decode())
def test_a_body_without_bytes_can_be_decoded(coding: Coding) -> None:
    assert DECODERS[coding.name.decode()]()(coding.encoder().encode(b"", last=True)) == b""
