"""What a chat completion that is not streamed has of the output of its job."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from holdfast.gateway.dialects.openai.completion_object import completion_json
from holdfast.gateway.dialects.openai.completions import CompletionHead
from holdfast.gateway.dialects.openai.errors import CompletionFailed
from holdfast.gateway.dialects.openai.output import Output
from holdfast.gateway.dialects.openai.response_object import head_of
from holdfast.gateway.dialects.openai.responses import ResponseTranslation
from holdfast.shared.ids import EventId
from holdfast.shared.log.entries import Entry

from tests.unit.gateway.dialects.openai.records import EPOCH, record

HEAD = CompletionHead("chatcmpl-s1", "writer", 1)
TWO_QUESTIONS: list[tuple[str, dict[str, Any]]] = [
    ("job.started", {}),
    ("text.delta", {"text": "Where? ", "part": 0}),
    ("question.asked", {"question_id": "q1"}),
    ("question.answered", {"question_id": "q1", "value": "Faro"}),
    ("text.delta", {"text": "When? ", "part": 0}),
    ("question.asked", {"question_id": "q2"}),
]


def output_of(*events: tuple[str, dict[str, Any]]) -> Output:
    translation = ResponseTranslation(head_of(record()))
    output: Output = translation.initial
    for seq, (kind, fields) in enumerate(events):
        body = orjson.dumps({"type": kind, "job_id": "j1", **fields})
        output = translation.advance(output, Entry(EventId(EPOCH, seq + 1), kind, "j1", body, None))[1]
    return output


def test_a_completion_behind_an_answer_that_never_reached_its_job_repeats_no_earlier_question() -> None:
    output = output_of(*TWO_QUESTIONS, ("job.cancelled", {"by": "user"}))
    with pytest.raises(CompletionFailed) as failed:
        completion_json(HEAD, output, "q2")
    assert failed.value.code == "cancelled"


def test_a_completion_behind_an_answer_that_never_reached_its_job_repeats_no_text() -> None:
    output = output_of(*TWO_QUESTIONS, ("job.completed", {"result": None}))
    [choice] = completion_json(HEAD, output, "q2")["choices"]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("stop", "")
