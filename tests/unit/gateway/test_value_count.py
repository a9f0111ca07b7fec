from __future__ import annotations

from typing import Any

import orjson
import pytest
from holdfast.gateway.value_count import MAX_VALUES, ValueCount
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('a,:[{"\\\n€'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('k,:"\\', max_size=3), inner, max_size=4),
)


def counted(value: Any) -> int:
    """The names and values behind the first one; an empty array or object counts twice."""
    if isinstance(value, dict):
        return sum(2 + counted(inner) for inner in value.values()) or 1
    if isinstance(value, list):
        return sum(1 + counted(inner) for inner in value) or 1
    return 0


@given(JSON, st.integers(1, 7))
def test_names_and_values_are_counted_however_the_text_is_cut(value: Any, size: int) -> None:
    text, count = orjson.dumps(value), ValueCount()
    for start in range(0, len(text), size):
        count.add(text[start : start + size])
    assert count.count == counted(value)


@pytest.mark.parametrize("unit", [b"1,", b"[],", b'"a",', b'{"a":1},'])
def test_text_with_too_many_of_them_is_counted_no_further(unit: bytes) -> None:
    count = ValueCount()
    for _ in range(1000):
        count.add(unit * 100_000)
    assert not count.is_allowed
    assert count.count < MAX_VALUES + 4 * 64 * 1024


def test_what_stands_in_a_text_is_not_counted() -> None:
    count = ValueCount()
    count.add(b'"' + b',:[{\\"' * 200_000 + b'"')
    assert count.count == 0
