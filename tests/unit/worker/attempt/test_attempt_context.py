"""What a conversation keeps of a job, folded while it runs."""

from __future__ import annotations

from typing import Any

import orjson
from holdfast.shared.log.conversation import Fold
from holdfast.shared.log.log_replies import Event
from holdfast.worker.attempt.attempt_context import Transcript


def event(kind: str, **fields: Any) -> Event:
    return Event(kind, "j", orjson.dumps({"type": kind, "job_id": "j", **fields}))


SAID = [
    event("status", message="…"),
    event("reasoning.delta", text="hm", part=0),
    event("text.delta", text="Let me ", part=0),
    event("text.delta", text="see. ", part=0),
    event("tool.started", call_id="c", name="clock"),
    event("tool.arguments.delta", call_id="c", delta="{}"),
    event("tool.called", call_id="c", name="clock", arguments={}),
    event("tool.result", call_id="c", result={"hour": 12}),
    event("text.delta", text="No", part=1),
    event("text.delta", text="on.", part=1),
    event("text.delta", text="I am another", part=0, agent="second"),
    event("usage", input_tokens=1, output_tokens=1, model="m"),
]


def add(transcript: Transcript, events: list[Event]) -> None:
    for event in events:
        transcript.add(event.kind, event.body)


def test_it_equals_the_fold_of_the_log() -> None:
    fold = Fold("j", "What time is it?")
    for said in SAID:
        fold.add(said.kind, said.body)
    transcript = Transcript("j", "What time is it?")
    add(transcript, SAID)
    assert transcript.messages() == fold.messages()
    assert [orjson.loads(message)["role"] for message in fold.messages()] == [
        *("user", "assistant", "tool", "assistant", "assistant")
    ]


def test_it_may_be_asked_in_the_middle() -> None:
    transcript = Transcript("j", "hi")
    add(transcript, SAID[2:3])
    assert orjson.loads(transcript.messages()[-1])["content"] == "Let me "
    add(transcript, SAID[3:4])
    assert orjson.loads(transcript.messages()[-1])["content"] == "Let me see. "


def test_usage_of_several_calls_adds_up() -> None:
    transcript = Transcript("j", "hi")
    assert transcript.usage() == b""
    add(transcript, [event("usage", input_tokens=10, output_tokens=1, model="small")])
    add(transcript, [event("usage", input_tokens=20, output_tokens=2, model="large")])
    assert orjson.loads(transcript.usage()) == {"input_tokens": 30, "output_tokens": 3, "model": "large"}


def test_usage_that_no_integer_of_json_can_hold_does_not_keep_a_job_from_its_end() -> None:
    transcript = Transcript("j", "hi")
    add(transcript, [event("usage", input_tokens=2**63, output_tokens=1, model="m")] * 3)
    assert orjson.loads(transcript.usage())["input_tokens"] == 2**53 - 1
