"""What a job says, kept while it runs, for the session's conversation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import orjson

from shared.conversation import Fold
from shared.events import DELTAS, STARTED, encode
from shared.holder import Event

TEXT = "text.delta"


class Transcript:
    """Folds the events of one attempt as the log takes them. Text is joined once, not piece by piece; it is UTF-8 until
    then, since tokens that are texts of their own take ten times their bytes."""

    def __init__(self, job_id: str, given: Any) -> None:
        self._fold = Fold()
        self._fold.add({"type": STARTED, "job_id": job_id, "input": given})
        self._texts: dict[str | None, bytearray] = {}
        self._job_id = job_id

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.kind == TEXT:
                self._add_text(orjson.loads(event.body))
            elif event.kind not in DELTAS:
                self._join()
                self._fold.add(orjson.loads(event.body))

    def messages(self) -> list[bytes]:
        """The messages so far, each as JSON."""
        self._join()
        return [encode(message) for message in self._fold.messages()]

    def _add_text(self, event: dict[str, Any]) -> None:
        self._texts.setdefault(event.get("agent"), bytearray()).extend(event["text"].encode())

    def _join(self) -> None:
        """Agents that speak side by side have a message each, in the order in which they began."""
        for agent, text in self._texts.items():
            named = {} if agent is None else {"agent": agent}
            self._fold.add({"type": TEXT, "job_id": self._job_id, "text": text.decode(), **named})
        self._texts.clear()
