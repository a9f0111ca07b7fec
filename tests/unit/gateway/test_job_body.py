from __future__ import annotations

from contextlib import suppress
from typing import Any

import orjson
import pytest
from holdfast.gateway.errors import BodyInvalid
from holdfast.gateway.routes.job_body import job_request, parse_job_body, title_of, with_key
from holdfast.shared.errors import RequestInvalid

GOOD = {"agent": "demo", "input": "tea"}


def digest(value: dict[str, Any]) -> str:
    body = parse_job_body(value)
    return with_key(job_request(body), body, "key-1").digest


def deep(levels: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


def test_what_is_left_out_has_its_default() -> None:
    body = parse_job_body(GOOD)
    assert (body.options, body.metadata, body.timeout_s, body.on_busy) == ({}, {}, 600, "queue")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"agent": None}, "agent"),
        ({"agent": ""}, "agent"),
        ({"agent": "x" * 129}, "agent"),
        ({"input": None}, "input"),
        ({"input": 5}, "input"),
        ({"input": ["a"]}, "input"),
        ({"input": {"messages": "hello"}}, "input.messages"),
        ({"input": {"messages": []}}, "input.messages"),
        ({"input": {"messages": [{"role": "user"}]}}, "input.messages.0.content"),
        ({"input": {"messages": [{"role": "root", "content": "x"}]}}, "input.messages.0.role"),
        ({"options": None}, "options"),
        ({"options": []}, "options"),
        ({"options": {"a": 2**64}}, "options"),
        ({"metadata": "x"}, "metadata"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"timeout_s": 86_401}, "timeout_s"),
        ({"timeout_s": 1.5}, "timeout_s"),
        ({"timeout_s": "600"}, "timeout_s"),
        ({"timeout_s": True}, "timeout_s"),
        ({"on_busy": "wait"}, "on_busy"),
        ({"client": "page"}, "client"),
        ({"client": {"context": ["here"]}}, "client"),
        ({"client": {"colour": "red"}}, "client"),
        ({"client": {"state": 2**64}}, "client.state"),
        ({"client": {"state": "x" * 256 * 1024}}, "client.state"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_field_that_cannot_be_used_is_named(change: dict[str, Any], field: str) -> None:
    with pytest.raises(RequestInvalid) as refused:
        job_request(parse_job_body(GOOD | change))
    assert refused.value.field == field


@pytest.mark.parametrize("missing", ["agent", "input"])
def test_a_required_field_that_is_missing_is_named(missing: str) -> None:
    with pytest.raises(BodyInvalid) as refused:
        parse_job_body({name: value for name, value in GOOD.items() if name != missing})
    assert refused.value.problems == [(missing, "is required")]


@pytest.mark.parametrize("value", [None, 5, "text", [], [GOOD]])
def test_a_body_that_is_no_object_is_refused_as_a_whole(value: object) -> None:
    with pytest.raises(BodyInvalid) as refused:
        parse_job_body(value)
    assert refused.value.field == "body"


def test_every_bad_field_is_listed_and_the_first_one_stands_in_front() -> None:
    with pytest.raises(BodyInvalid) as refused:
        parse_job_body({"agent": 1, "input": "x", "colour": 2})
    assert [field for field, _ in refused.value.problems] == ["agent", "colour"]
    assert refused.value.field == "agent"


def test_the_name_of_an_unknown_field_comes_back_shortened() -> None:
    with pytest.raises(BodyInvalid) as refused:
        parse_job_body(GOOD | {"x" * 10_000: 1})
    assert refused.value.field == "x" * 100


def test_a_chat_and_an_object_of_the_agents_own_are_both_inputs() -> None:
    chat = {"messages": [{"role": "user", "content": "hi"}, {"role": "tool", "content": "4", "call_id": "c"}]}
    assert parse_job_body(GOOD | {"input": chat}).input == chat
    assert parse_job_body(GOOD | {"input": {"city": "Oslo"}}).input == {"city": "Oslo"}


def test_json_reaches_the_session_byte_for_byte_as_it_means() -> None:
    request = job_request(parse_job_body(GOOD | {"input": "a\0b\u2028", "options": {"k": [1, 2.5, None]}}))
    assert orjson.loads(request.input) == "a\0b\u2028"
    assert orjson.loads(request.options) == {"k": [1, 2.5, None]}


def test_nesting_that_the_parser_lets_through_can_be_written_too() -> None:
    request = job_request(parse_job_body(GOOD | {"options": {"deep": deep(190)}}))
    assert request.options.count(b"[") == 191


def test_the_digest_is_that_of_the_meaning_and_not_of_the_spelling() -> None:
    assert digest({"input": "tea", "timeout_s": 600, "agent": "demo"}) == digest(GOOD)
    assert digest(GOOD | {"input": {"b": 1, "a": 2}}) == digest(GOOD | {"input": {"a": 2, "b": 1}})
    assert digest(GOOD | {"input": "Tea"}) != digest(GOOD)
    assert digest(GOOD | {"on_busy": "reject"}) != digest(GOOD)
    assert digest(GOOD | {"client": None}) == digest(GOOD)
    assert digest(GOOD | {"client": {"state": 1}}) != digest(GOOD | {"client": {"state": 2}})


@pytest.mark.parametrize(("field", "bytes_"), [("metadata", 16 * 1024), ("options", 256 * 1024)])
def test_metadata_and_options_are_bounded(field: str, bytes_: int) -> None:
    fits = {"k": "x" * (bytes_ - 8)}
    assert len(getattr(job_request(parse_job_body(GOOD | {field: fits})), field)) == bytes_
    with pytest.raises(RequestInvalid, match=f"{field}: must have at most {bytes_} bytes") as refused:
        job_request(parse_job_body(GOOD | {field: {"k": fits["k"] + "x"}}))
    assert refused.value.field == field


class Fields(dict[str, Any]):
    """Counts how many of its values are read."""

    read = 0

    def __getitem__(self, name: str) -> Any:
        self.read += 1
        return super().__getitem__(name)


def test_of_many_unknown_fields_the_first_ones_are_looked_at() -> None:
    fields = Fields(GOOD | {str(number): number for number in range(1000)})
    with pytest.raises(BodyInvalid) as refused:
        parse_job_body(fields)
    assert [field for field, _ in refused.value.problems] == [str(number) for number in range(20)]
    assert fields.read == 22


def test_of_many_wrong_messages_the_first_ones_are_named() -> None:
    with pytest.raises(BodyInvalid) as refused:
        parse_job_body(GOOD | {"input": {"messages": [1] * 1000}})
    assert len(refused.value.problems) == 20


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


@pytest.mark.parametrize("levels", range(240, 260))
def test_a_body_with_a_key_that_is_nested_too_deeply_is_refused(levels: int) -> None:
    with suppress(RequestInvalid):
        digest({**GOOD, "input": {"x": deep(levels)}})
