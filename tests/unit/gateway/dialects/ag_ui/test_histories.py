"""The messages before a run: of the client, and of the session."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from holdfast.gateway.dialects.ag_ui.history import of_client, of_session
from holdfast.gateway.dialects.ag_ui.hydration import hydration
from holdfast.gateway.dialects.ag_ui.kept import Message
from holdfast.shared.sessions import RecentMessages


def stored(*messages: Message) -> list[bytes]:
    return [orjson.dumps(message) for message in messages]


def shown(messages: list[bytes], given: Any = None, job_id: str = "") -> list[Message]:
    """Return the history of a job."""
    history = of_session(RecentMessages(messages, [], given), job_id)
    return [orjson.loads(message) for message in history.messages]


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
    assert hydration(RecentMessages(messages, [], None), None)["messages"][0]["parts"] == [
        {"type": "text", "content": "Hm"}
    ]


def test_a_client_that_repeats_a_joined_run_keeps_its_input() -> None:
    joined = shown(stored({"role": "user", "content": "Earlier", "job_id": "j1"}), "Hello", "j2")
    output = {"id": "j2/1763683200123-2", "role": "assistant", "content": "Hi"}
    assert [orjson.loads(message) for message in of_client([*joined, output], "j2").messages] == joined


def test_a_message_keeps_its_id_when_older_ones_are_left_out() -> None:
    """HttpAgent keeps a message whose id it has at its place."""
    turns = stored(*({"role": "user", "content": str(n), "job_id": f"j{n // 3}"} for n in range(9)))
    assert shown(turns[2:], "Hello", "j4") == shown(turns, "Hello", "j4")[2:]
    ids = [message["id"] for message in shown(turns, "Hello", "j4")]
    assert len(set(ids)) == len(ids)
