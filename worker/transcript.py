"""The turn of a running job, folded as the log takes its events."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from shared.conversation import Fold
from shared.holder import Event


class Transcript:
    """Folds the events of one attempt into the messages that its session's conversation keeps."""

    def __init__(self, job_id: str, given: Any) -> None:
        self._fold = Fold(job_id, given)

    def add(self, events: Iterable[Event]) -> None:
        for event in events:
            self._fold.add(event.kind, event.body)

    def messages(self) -> list[bytes]:
        """The messages so far, each as JSON."""
        return self._fold.messages()
