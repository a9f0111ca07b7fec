"""The conversation that the client folds from events is the one that a gateway returns."""

from __future__ import annotations

from typing import Any

import pytest
from holdfast.client import Conversation, Event

from tests.support.golden_conversations import Golden, golden


def text(event_id: str, piece: str, job_id: str = "j", **more: Any) -> Event:
    return Event(event_id, {"type": "text.delta", "job_id": job_id, "text": piece, "part": 0, **more})


def started(event_id: str, job_id: str = "j", given: Any = "hi", **more: Any) -> Event:
    return Event(event_id, {"type": "job.started", "job_id": job_id, "input": given, **more})


def completed(event_id: str, job_id: str = "j") -> Event:
    return Event(event_id, {"type": "job.completed", "job_id": job_id, "result": None})


def gap(reason: str, event_id: str | None) -> Event:
    return Event(event_id, {"type": "gap", "reason": reason, "position": event_id or "1-5"})


def folded(*events: Event) -> Conversation:
    conversation = Conversation()
    for event in events:
        conversation.add(event)
    return conversation


def contents(conversation: Conversation) -> list[str]:
    return [message["content"] for message in conversation.messages]


@pytest.mark.parametrize("log", golden(), ids=lambda log: log.name)
def test_a_golden_log_makes_its_messages(log: Golden) -> None:
    conversation = folded(*(Event(event_id, body) for event_id, body in log.events))
    assert conversation.messages == log.messages
    assert conversation.cursor == log.events[-1][0]
    assert not conversation.incomplete


def test_jobs_follow_each_other_and_those_that_wait_or_never_began_add_nothing() -> None:
    conversation = folded(
        started("1-1", "a"),
        Event(None, {"type": "job.queued", "job_id": "b", "position": 1}),
        text("1-2", "one", "a"),
        Event("1-3", {"type": "job.cancelled", "job_id": "c", "by": "user"}),
        text("1-4", "!", "a"),
        completed("1-5", "a"),
        started("2-1", "b", "more"),
        text("2-2", "two", "b"),
    )
    assert contents(conversation) == ["hi", "one!", "more", "two"]
    assert conversation.cursor == "2-2"


def test_a_question_is_open_until_it_is_answered_discarded_or_its_job_ends() -> None:
    asked = Event("1-2", {"type": "question.asked", "job_id": "j", "question_id": "q", "prompt": "?", "schema": {}})
    ends = [
        Event("1-3", {"type": "question.answered", "job_id": "j", "question_id": "q", "value": 1}),
        started("2-1", discard_from="1-2"),
        completed("1-3"),
    ]
    assert folded(started("1-1"), asked).question == {"question_id": "q", "prompt": "?", "schema": {}}
    assert [folded(started("1-1"), asked, end).question for end in ends] == [None, None, None]


def test_a_response_of_messages_is_continued_from_the_beginning_of_the_running_job() -> None:
    running = [{"role": "user", "content": "hi", "job_id": "j"}, {"role": "assistant", "content": "Hel", "job_id": "j"}]
    ended = [{"role": "user", "content": "before", "job_id": "i"}]
    conversation = Conversation.of(
        {"messages": [*ended, *running], "cursor": "2-2", "job_id": "j", "replay_from": "1-9", "question": None}
    )
    assert (conversation.messages, conversation.cursor) == (ended, "1-9")
    for event in (started("2-1"), text("2-2", "Hel"), text("2-3", "lo")):
        conversation.add(event)
    assert contents(conversation) == ["before", "hi", "Hello"]


def test_a_response_of_messages_without_a_running_job_is_continued_at_its_cursor() -> None:
    ended = [{"role": "user", "content": "before", "job_id": "i"}]
    conversation = Conversation.of(
        {"messages": ended, "cursor": "2-2", "job_id": None, "replay_from": None, "question": None}
    )
    assert (conversation.messages, conversation.cursor) == (ended, "2-2")


def test_a_running_job_behind_one_without_messages_leaves_the_conversation_complete() -> None:
    """Its response had all messages of the path, though none of the job that the running one follows."""
    running = [{"role": "user", "content": "hi", "job_id": "j"}]
    ended = [{"role": "user", "content": "before", "job_id": "h"}]
    answer = {"messages": [*ended, *running], "cursor": "2-2", "job_id": "j", "replay_from": "1-9", "question": None}
    conversation = Conversation.of(answer)
    for event in (started("2-1", after="i"), text("2-2", "Hello"), completed("2-3")):
        conversation.add(event)
    assert contents(conversation) == ["before", "hi", "Hello"]
    assert not conversation.incomplete
    conversation.add(started("2-4", "l", after="k"))
    assert conversation.incomplete, "a job of another branch, of which the response did not tell"


def test_what_a_lost_tail_had_is_taken_back() -> None:
    conversation = folded(started("1-1"), text("1-2", "a"), text("1-3", "b"), gap("lost", "1-2"), text("2-1", "c"))
    assert contents(conversation) == ["hi", "ac"]
    assert not conversation.incomplete
    assert contents(folded(started("1-1"), completed("1-2"), started("1-3", "k"), gap("lost", "1-2"))) == ["hi"]


def test_a_merged_delta_that_a_lost_gap_would_split_and_an_end_that_it_takes_back_make_it_incomplete() -> None:
    merged = text("1-9", "abc", **{"from": "1-4"})
    assert folded(started("1-1"), merged, gap("lost", "1-5")).incomplete
    assert not folded(started("1-1"), merged, gap("lost", "1-3")).incomplete
    assert folded(started("1-1"), completed("1-2"), gap("lost", "1-1")).incomplete


@pytest.mark.parametrize(("reason", "event_id"), [("trimmed", None), ("expired", "0-0")])
def test_events_that_are_gone_make_it_incomplete(reason: str, event_id: str | None) -> None:
    conversation = folded(started("1-1"), text("1-2", "a"), gap(reason, event_id))
    assert conversation.incomplete
    assert contents(conversation) == ["hi", "a"]


def test_a_deleted_session_has_no_messages() -> None:
    assert folded(started("1-1"), text("1-2", "a"), Event("1-3", {"type": "session.deleted"})).messages == []


def test_messages_are_copies_of_what_is_there_now() -> None:
    conversation = folded(started("1-1"), text("1-2", "a"))
    before = conversation.messages
    before[0]["content"] = "changed"
    conversation.add(text("1-3", "b"))
    assert before[1]["content"] == "a"
    assert contents(conversation) == ["hi", "ab"]


def test_of_ended_jobs_it_keeps_the_newest_thousand_messages() -> None:
    conversation = Conversation()
    for number in range(1, 1500):
        conversation.add(started(f"{number}-1", f"j{number}", str(number)))
        conversation.add(completed(f"{number}-2", f"j{number}"))
    assert contents(conversation) == [str(number) for number in range(500, 1500)]


def test_a_job_that_follows_an_earlier_one_takes_the_place_of_those_behind_it() -> None:
    turns = [
        event
        for number, (job_id, after) in enumerate((("a", None), ("b", "a"), ("c", "b"), ("b2", "a"), ("d", "b2")), 1)
        for event in (started(f"{number}-1", job_id, job_id, after=after), completed(f"{number}-2", job_id))
    ]
    conversation = folded(*turns)
    assert contents(conversation) == ["a", "b2", "d"]
    conversation.add(started("6-1", "b2", "b2", after="a", discard_from="4-1"))
    assert (contents(conversation), conversation.incomplete) == (["a", "b2"], False)
    conversation = folded(*turns, started("6-1", "n", "n", after=None))
    assert (contents(conversation), conversation.incomplete) == (["n"], False)


def test_a_job_that_follows_one_of_another_branch_makes_it_incomplete() -> None:
    ended = [{"role": "user", "content": "a", "job_id": "a"}, {"role": "user", "content": "b2", "job_id": "b2"}]
    conversation = Conversation.of({"messages": ended, "cursor": "2-2", "job_id": None, "replay_from": None})
    conversation.add(started("3-1", "d", "d", after="b"))
    assert conversation.incomplete
    conversation = Conversation.of({"messages": ended, "cursor": "2-2", "job_id": None, "replay_from": None})
    conversation.add(started("3-1", "d", "d", after="a"))
    assert (contents(conversation), conversation.incomplete) == (["a", "d"], False)


def test_the_events_of_one_job_are_complete_whatever_it_follows() -> None:
    assert not folded(started("3-1", "d", "d", after="b"), completed("3-2", "d")).incomplete
