"""Collect the messages and the usage of a running job as its events are written."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson
from holdfast.shared.log.conversation import Fold
from holdfast.shared.log.events import encode
from holdfast.shared.log.log_replies import Event

MAX_TOKENS = 2**53 - 1  # what every JSON reader keeps exactly


class Transcript:
    """Folds the events of a job that count into messages for its session's conversation, and sums up its usage."""

    def __init__(self, job_id: str, given: Any) -> None:
        self._fold = Fold(job_id, given)
        self._used: dict[str, Any] | None = None

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            self._fold.add(event.kind, event.body)
            if event.kind == "usage":
                self._add_usage(orjson.loads(event.body))

    def truncate(self) -> None:
        """Mark that events are missing before the next one."""
        self._fold.truncate()

    def messages(self) -> list[bytes]:
        """Return the messages so far, each as JSON."""
        return self._fold.messages()

    def usage(self) -> bytes:
        """Return the sum of all usage so far as JSON; empty where there is none."""
        return b"" if self._used is None else encode(self._used)

    def _add_usage(self, event: dict[str, Any]) -> None:
        used = self._used or {"input_tokens": 0, "output_tokens": 0}
        self._used = {
            "input_tokens": min(used["input_tokens"] + event["input_tokens"], MAX_TOKENS),
            "output_tokens": min(used["output_tokens"] + event["output_tokens"], MAX_TOKENS),
            "model": event["model"],
        }
