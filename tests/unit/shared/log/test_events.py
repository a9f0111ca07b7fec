from __future__ import annotations

import json
from typing import Any

import pytest
from holdfast.shared.errors import EventInvalid
from holdfast.shared.log.events import MAX_EVENT_BYTES, encode_event
from hypothesis import given
from hypothesis import strategies as st

TEXT = st.text(st.characters(exclude_categories=["Cs"]))


@given(TEXT)
def test_any_text_arrives_as_it_was_and_on_one_line(text: str) -> None:
    body = encode_event({"type": "text.delta", "text": text})
    assert json.loads(body)["text"] == text
    assert b"\n" not in body
    assert b"\r" not in body


@pytest.mark.parametrize(
    "kind", ["job.completed", "job.started", "session.deleted", "gap", "Text", "a b", "a\n", "", ".", "a.", "x" * 65, 5]
)
def test_a_type_that_is_malformed_or_holdfasts_own_is_refused(kind: Any) -> None:
    with pytest.raises(EventInvalid):
        encode_event({"type": kind})


@pytest.mark.parametrize("value", ["\ud800", object(), 2**70, {1, 2}])
def test_what_json_cannot_say_is_refused(value: Any) -> None:
    with pytest.raises(EventInvalid):
        encode_event({"type": "data", "value": value})


def test_an_event_over_the_limit_is_refused_with_its_size() -> None:
    fits = MAX_EVENT_BYTES - len(encode_event({"type": "data", "value": ""}))
    encode_event({"type": "data", "value": "x" * fits})
    with pytest.raises(EventInvalid, match=str(MAX_EVENT_BYTES + 1)):
        encode_event({"type": "data", "value": "x" * (fits + 1)})
