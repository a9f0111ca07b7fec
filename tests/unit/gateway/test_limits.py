from __future__ import annotations

import asyncio
from typing import Any

import orjson
import pytest
from holdfast.gateway.limits import LARGE_BYTES, MAX_VALUES, CpuSlot, ValueCount, parse_json
from holdfast.shared.errors import RequestInvalid
from hypothesis import given
from hypothesis import strategies as st

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text('a,:[{"\\\n€'),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('k,:"\\', max_size=3), inner, max_size=4),
)


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


async def iterations(cpu_slot: CpuSlot, size: int, steps: int) -> list[int]:
    """Return the iterations of the event loop in which the steps of several bodies run."""
    loop = asyncio.get_running_loop()
    iteration = 0

    def count() -> None:
        nonlocal iteration
        iteration += 1
        counting.append(loop.call_soon(count))

    async def body() -> list[int]:
        return [await cpu_slot.run(size, lambda: iteration) for _ in range(steps)]

    counting = [loop.call_soon(count)]
    taken = await asyncio.gather(*(body() for _ in range(5)))
    counting[-1].cancel()
    return [step for steps_of_one in taken for step in steps_of_one]


async def test_at_most_one_step_of_a_large_body_runs_per_iteration() -> None:
    taken = await iterations(CpuSlot(), LARGE_BYTES, steps=4)
    assert len(set(taken)) == len(taken) == 20


async def test_a_small_body_does_not_wait() -> None:
    assert len(set(await iterations(CpuSlot(), LARGE_BYTES - 1, steps=4))) == 1


async def test_a_step_that_raises_releases_the_slot() -> None:
    cpu_slot = CpuSlot()
    with pytest.raises(ZeroDivisionError):
        await cpu_slot.run(LARGE_BYTES, lambda: 1 // 0)
    assert await cpu_slot.run(LARGE_BYTES, str, 5) == "5"


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
