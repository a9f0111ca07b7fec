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
    """Folds the events of one attempt as the log takes them. Text is joined once, not piece by piece."""

    def __init__(self, job_id: str, given: Any) -> None:
        self._fold = Fold()
        self._fold.add({"type": STARTED, "job_id": job_id, "input": given})
        self._text: dict[str, Any] | None = None
        self._pieces: list[str] = []

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
        if self._text is None or self._text.get("agent") != event.get("agent"):
            self._join()
            self._text = event
        self._pieces.append(event["text"])

    def _join(self) -> None:
        if self._text is not None:
            self._fold.add({**self._text, "text": "".join(self._pieces)})
        self._text, self._pieces = None, []
