from __future__ import annotations

import pytest
from holdfast.gateway.limits import parse_json
from holdfast.shared.errors import RequestInvalid


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"{", id="cut off"),
        pytest.param(b'{"a": 1} x', id="something behind it"),
        pytest.param(b'\xef\xbb\xbf{"a": 1}', id="a byte order mark"),
        pytest.param(b'"\xff"', id="not UTF-8"),
        pytest.param(b'"\xed\xa0\x80"', id="a surrogate in UTF-8"),
        pytest.param(b'"\\ud800"', id="a lone surrogate, escaped"),
        pytest.param(b'"\x00"', id="a bare NUL"),
        pytest.param(b"NaN", id="NaN"),
        pytest.param(b"[Infinity]", id="Infinity"),
        pytest.param(b'{"a": [1e999]}', id="a number beyond all floats"),
        pytest.param(b"[" * 210 + b"]" * 210, id="nested 210 deep"),
        pytest.param(b"[" * 1_000_000, id="a million brackets"),
        pytest.param(b"1" * 5000, id="a number of 5000 digits"),
    ],
)
def test_what_is_no_strict_json_is_refused_with_the_body_as_field(body: bytes) -> None:
    with pytest.raises(RequestInvalid) as refused:
        parse_json(body)
    assert refused.value.field == "body"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        pytest.param(b'"a\\u0000b"', "a\0b", id="an escaped NUL"),
        pytest.param(b'"\\ud83d\\ude00"', "\N{GRINNING FACE}", id="an escaped pair of surrogates"),
        pytest.param('"\u2028\u0085"'.encode(), "\u2028\u0085", id="line separators"),
        pytest.param(b" [1.5, null, true] ", [1.5, None, True], id="space around it"),
    ],
)
def test_strict_json_is_taken_as_it_is(body: bytes, value: object) -> None:
    assert parse_json(body) == value
