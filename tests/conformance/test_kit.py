"""The kit's own judgement, with violations planted: a viewer that is told wrong things, and the cards."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.adapter import Adapter, AdapterInvalid, NotOffered, load
from tests.conformance.card import Card, Outcome, Result, place
from tests.conformance.kit import Kit, run
from tests.conformance.viewer import Failed, Viewer
from tests.support.sse import Frame


class Plain(Adapter):
    def text(self, frame: Frame) -> str:
        return "" if frame.data in {"over", "end"} else frame.data

    def ends(self, frame: Frame) -> bool:
        return frame.data == "end"

    def starts_over(self, frame: Frame) -> bool:
        return frame.data == "over"


def told(*events: tuple[str, str]) -> Viewer:
    viewer = Viewer(Plain(["http://127.0.0.1:1"]), "/")
    for id_, data in events:
        viewer.accept(Frame(id_, data))
    return viewer


def test_an_event_that_comes_twice_is_a_fault() -> None:
    with pytest.raises(Failed, match="event 1 came twice"):
        told(("1", "a"), ("2", "b"), ("1", "a"))


def test_two_events_with_one_id_are_a_fault() -> None:
    with pytest.raises(Failed, match="another event has the id 1"):
        told(("1", "a"), ("2", "b"), ("1", "c"))


def test_an_event_after_the_end_is_a_fault() -> None:
    with pytest.raises(Failed, match="after the job's last: more"):
        told(("1", "end"), ("2", "more"))


def test_an_event_without_an_id_is_no_cursor_and_not_of_the_log() -> None:
    viewer = told(("", "waiting"), ("1", "a"), ("1", "note"))
    assert viewer.cursor == "1"
    assert viewer.told() == [("1", "a"), ("1", "note")]


def test_a_viewer_drops_what_it_is_told_to_drop() -> None:
    viewer = told(("1", "dead"), ("2", "over"), ("3", "right"), ("4", "end"))
    viewer.must_say("right")
    assert viewer.ended


@pytest.mark.parametrize(
    ("says", "at"), [("w0 w0 w1 ", "at 4 it says '0 w1 ' for '1 '"), ("w0 ", "at 3 it says '' for")]
)
def test_a_text_that_differs_is_shown_where_it_does(says: str, at: str) -> None:
    with pytest.raises(Failed, match=at):
        told(("1", says)).must_say("w0 w1 ")


async def passes(kit: Kit) -> str:
    """It passes"""
    return "at once"


async def fails(kit: Kit) -> None:
    """It fails"""
    raise Failed("for a reason")


async def breaks(kit: Kit) -> None:
    """It breaks"""
    raise KeyError("id")


async def is_not_offered(kit: Kit) -> None:
    """It is not there"""
    raise NotOffered("nobody can")


@pytest.mark.parametrize(
    ("check", "line"),
    [
        (passes, "pass It passes: at once"),
        (fails, "FAIL It fails: for a reason"),
        (breaks, "FAIL It breaks: KeyError: 'id'"),
        (is_not_offered, "–    It is not there: nobody can"),
    ],
)
async def test_each_check_ends_in_one_line(check: object, line: str) -> None:
    assert (await run(check, Kit(Plain()))).line() == line  # type: ignore[arg-type]


def test_a_card_counts_what_was_carried_out_and_stands_between_the_markers() -> None:
    card = Card("A server", [Result("One", Outcome.PASSED), Result("Two", Outcome.LEFT_OUT, "a|b")])
    document = place("before\n<!-- score cards -->\nold\n<!-- /score cards -->\nafter", [card])
    assert document == (
        "before\n<!-- score cards -->\n### A server: 1 of 1\n\n| check | result | |\n| --- | --- | --- |\n"
        "| One | pass |  |\n| Two | – | a\\|b |\n<!-- /score cards -->\nafter"
    )
    with pytest.raises(ValueError, match="no place"):
        place("nothing", [card])


def test_an_adapter_is_the_one_class_of_its_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text("from tests.conformance.adapter import Adapter\nclass Mine(Adapter):\n    name = 'mine'\n")
    assert load(file)(["http://127.0.0.1:1"]).urls == ["http://127.0.0.1:1"]
    file.write_text("")
    with pytest.raises(AdapterInvalid, match="defines 0 adapters"):
        load(file)
    with pytest.raises(AdapterInvalid, match="is no Python file"):
        load(tmp_path / "none.py")
