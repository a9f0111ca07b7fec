"""The messages before a run: of the client, and of the session."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from holdfast.gateway.dialects.ag_ui.history import of_session
from holdfast.gateway.dialects.ag_ui.hydration import hydration
from holdfast.gateway.dialects.ag_ui.kept import Message


def stored(*messages: Message) -> list[bytes]:
    return [orjson.dumps(message) for message in messages]


def shown(messages: list[bytes], given: Any = None, job_id: str = "") -> list[Message]:
    return [orjson.loads(message) for message in of_session(messages, given, job_id).messages]


@pytest.mark.parametrize(
    "calls",
    [
        pytest.param([{"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}], id="of OpenAI"),
        *([5, "x", True, {"call_id": "c1"}, [1], [None], [{"call_id": 1, "name": "f"}], [{"call_id": "c1"}]]),
    ],
)
def test_tool_calls_of_another_shape_are_left_out(calls: Any) -> None:
    """Any job of the thread may have been submitted with them."""
    messages = stored({"role": "assistant", "content": "Hm", "tool_calls": calls, "job_id": "j1"})
    assert [(message["content"], "toolCalls" in message) for message in shown(messages)] == [("Hm", False)]
    assert hydration(messages, None, None)["messages"][0]["parts"] == [{"type": "text", "content": "Hm"}]
