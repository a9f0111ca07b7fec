"""The history checker finds what is planted, and nothing in a sound history."""

from __future__ import annotations

import orjson
import pytest
from holdfast.shared.ids import ORIGIN, EventId

from tests.support.history import Gap, History, Told, Transcript, told

A, B = 1763683200123, 1763683200999


def event(epoch: int, seq: int, kind: str = "text.delta", *, job: str = "j", prev: EventId | None = None) -> Told:
    fields = {"type": kind, "job_id": job, "text": f"{epoch}-{seq} of {job}"}
    return told(EventId(epoch, seq), orjson.dumps(fields | ({"prev": str(prev)} if prev is not None else {})))


def body(epoch: int, seq: int) -> bytes:
    return orjson.dumps({"type": "text.delta", "job_id": "j", "text": f"{epoch}-{seq} of j"})


LOG = [
    event(A, 1, "job.started", prev=ORIGIN),
    event(A, 2),
    event(A, 3),
    event(B, 1, "job.started", prev=EventId(A, 3)),
    event(B, 2),
    event(B, 3, "job.completed"),
]
LOGS = {"s": LOG}


@pytest.fixture
def history() -> History:
    return History(accepted={("s", "j")})


def viewer(history: History, *steps: Told | Gap, session: str = "s", raw: bool = True) -> Transcript:
    transcript = history.client(session, "v", raw=raw)
    transcript.steps += steps
    return transcript


def only(found: list[str], *words: str) -> None:
    assert len(found) == 1, found
    assert all(word in found[0] for word in words), found


def test_a_sound_history_breaks_nothing(history: History) -> None:
    viewer(history, *LOG)
    for seq in (2, 3):
        history.appended("s", EventId(A, seq), body(A, seq), "ok")
    history.appended("s", EventId(B, 2), body(B, 2), "unknown")
    history.appended("s", EventId(B, 3), body(B, 9), "fail")
    assert history.violations(LOGS) == []
    assert history.incomplete(LOGS) == []


def test_an_event_that_came_twice_is_found(history: History) -> None:
    viewer(history, *LOG[:3], LOG[2], *LOG[3:])
    only(history.violations(LOGS), "P1", "came again")


def test_events_in_another_order_are_found(history: History) -> None:
    viewer(history, LOG[0], LOG[2], LOG[1])
    assert any("came again, or late" in found for found in history.violations(LOGS))


@pytest.mark.parametrize("missing", [0, 1, 3])
def test_a_hole_that_nobody_declared_is_found(history: History, missing: int) -> None:
    viewer(history, *LOG[:missing], *LOG[missing + 1 :])
    only(history.violations(LOGS), "P1", "with no word")


def test_an_end_that_never_came_is_found(history: History) -> None:
    viewer(history, *LOG[:-1])
    assert history.violations(LOGS) == []
    only(history.incomplete(LOGS), "P1", "5 of 6")


def test_a_merged_event_that_begins_in_what_was_told_is_found(history: History) -> None:
    viewer(history, *LOG[:2], event(A, 3)._replace(first=EventId(A, 2)), raw=False)
    only(history.violations(LOGS), "P1", "which it had")


def test_a_gap_declares_what_is_missing(history: History) -> None:
    viewer(history, LOG[0], Gap("trimmed", EventId(B, 1)), *LOG[3:])
    assert history.violations(LOGS) == []


def test_after_a_lost_gap_what_was_above_it_may_come_anew(history: History) -> None:
    seen = viewer(history, *LOG[:3], event(A, 4), Gap("lost", EventId(A, 3)), *LOG[3:])
    assert history.violations(LOGS) == []
    assert seen.events() == LOG


def test_an_id_with_two_contents_is_found(history: History) -> None:
    viewer(history, *LOG[:2], event(A, 3, job="other"))
    only(history.violations(LOGS), "P2", f"{A}-3")


def test_an_acknowledged_event_that_is_gone_is_found(history: History) -> None:
    history.appended("s", EventId(A, 4), body(A, 4), "ok")
    only(history.violations(LOGS), "P3", "gone without a word")


def test_an_acknowledged_event_that_was_declared_lost_is_fine(history: History) -> None:
    history.appended("s", EventId(A, 4), body(A, 4), "ok")
    viewer(history, *LOG[:3], event(A, 4), Gap("lost", EventId(A, 3)), *LOG[3:])
    assert history.violations(LOGS) == []


def test_a_refused_event_that_is_there_is_found(history: History) -> None:
    history.appended("s", EventId(B, 2), body(B, 2), "fail")
    only(history.violations(LOGS), "P3", "refused")


def test_an_unknown_event_that_is_there_twice_is_found(history: History) -> None:
    twice = [*LOG[:5], LOG[4]._replace(id=EventId(B, 3)), event(B, 4, "job.completed")]
    history.appended("s", EventId(B, 2), body(B, 2), "unknown")
    only(history.violations({"s": twice}), "P3", "more than once")


def test_a_job_without_an_end_is_found(history: History) -> None:
    only(history.violations({"s": LOG[:5]}), "P4", "no end")


def test_a_second_end_is_found(history: History) -> None:
    only(history.violations({"s": [*LOG, event(B, 4, "job.failed")]}), "P4", "a second end")


def test_an_event_after_the_end_is_found(history: History) -> None:
    only(history.violations({"s": [*LOG, event(B, 4)]}), "P4", "after its end")


def test_a_hole_in_the_log_is_found(history: History) -> None:
    assert any("in the log" in found for found in history.violations({"s": [*LOG[:4], LOG[5]]}))


def test_an_event_of_another_session_is_found(history: History) -> None:
    foreign = event(A, 2, job="k")
    viewer(history, LOG[0], foreign, LOG[2])
    logs = {"s": LOG, "t": [event(A, 1, "job.started", job="k", prev=ORIGIN), foreign]}
    assert any("P6" in found for found in history.violations(logs))
