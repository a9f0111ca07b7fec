"""The judgements of deploy/scale-check, on violations planted by hand."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deploy.scale_check import judgement
from deploy.scale_check.judgement import faults, lost, twice
from deploy.scale_check.viewer import Event, parse_events


@pytest.fixture(autouse=True)
def _two_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgement, "TOKENS", 2)


def event(event_id: str, kind: str, **fields: Any) -> Event:
    return Event(event_id, json.dumps({"type": kind, **fields}))


STARTED = event("1000-1", "job.started")
FIRST = event("1000-2", "text.delta", text="w0 ")
SECOND = event("1000-3", "text.delta", text="w1 ")
END = event("1000-4", "job.completed")
WHOLE = [STARTED, FIRST, SECOND, END]


def test_a_whole_log_has_no_fault() -> None:
    assert faults(WHOLE) == []


def test_an_attempt_that_died_is_no_fault() -> None:
    died = [event("900-1", "job.started"), event("900-2", "text.delta", text="w0 ")]
    assert faults([*died, *WHOLE]) == []


def test_a_hole_is_a_fault() -> None:
    assert faults([STARTED, SECOND, END]) != []


def test_events_out_of_order_are_a_fault() -> None:
    assert faults([STARTED, SECOND, FIRST, END]) != []


def test_an_epoch_that_does_not_begin_with_its_first_event_is_a_fault() -> None:
    assert faults([*WHOLE[:3], event("1001-2", "job.completed")]) != []


def test_a_gap_is_a_fault() -> None:
    assert faults([Event("", '{"type":"gap","reason":"trimmed"}'), *WHOLE]) != []


@pytest.mark.parametrize("log", [WHOLE[:3], [*WHOLE, event("1000-5", "job.completed")], []])
def test_a_job_without_exactly_one_end_as_its_last_event_is_a_fault(log: list[Event]) -> None:
    assert faults(log) != []


def test_a_job_that_failed_is_a_fault() -> None:
    assert faults([*WHOLE[:3], event("1000-4", "job.failed")]) != []


def test_what_a_viewer_missed_and_saw_again_is_counted() -> None:
    assert lost([STARTED, FIRST, FIRST, END], WHOLE) == 1
    assert twice([STARTED, FIRST, FIRST, END]) == 1
    assert (lost(WHOLE, WHOLE), twice(WHOLE)) == (0, 0)


def test_events_are_read_with_their_ids_and_gaps_without() -> None:
    blocks = [
        "retry: 1000",
        ": ping",
        'id: 1-2\ndata: {"type":"x"}',
        "id: 1-3",
        'data: {"type":"job.queued"}',
        'data: {"type":"gap"}',
    ]
    lines = "".join(f"{block}\n\n" for block in blocks).encode().splitlines(keepends=True)
    found = list(parse_events(iter(lines)))
    assert found == [Event("1-2", '{"type":"x"}'), Event("", '{"type":"gap"}')]
