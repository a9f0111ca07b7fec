from __future__ import annotations

from typing import Any

import orjson
import pytest
from holdfast.gateway.titles import title_of


@pytest.mark.parametrize(
    ("given", "title"),
    [
        ("Where is Rome?", "Where is Rome?"),
        ("  two\n lines\t", "two lines"),
        ("", ""),
        ("x" * 80, "x" * 80),
        ("word " * 100, "word " * 15 + "word…"),
        ("y" * 10**6, "y" * 79 + "…"),
        ({"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "hi"}]}, "hi"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, {"text": "b"}, {}]}]}, "a b"),
        ({"messages": [{"role": "user", "content": None}]}, ""),
        ({"messages": "x"}, '{"messages":"x"}'),
        ({"city": "Rome"}, '{"city":"Rome"}'),
        (7, "7"),
    ],
)
def test_a_title_is_the_beginning_of_the_first_input(given: Any, title: str) -> None:
    assert title_of(given, orjson.dumps(given)) == title
