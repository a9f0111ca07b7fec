"""An agent that notes what it reads of its conversation, to compare with what a page shows."""

from __future__ import annotations

from typing import Any

from holdfast.worker import Run


class Reader:
    """`agent` answers with a number, and keeps in `read` the texts that it would send to a provider."""

    def __init__(self) -> None:
        self.read: list[str] = []
        self._answers = 0

    async def agent(self, run: Run) -> None:
        self.read = [*(message["content"] for message in run.history), *_texts(run.input)]
        self._answers += 1
        await run.text(f"answer {self._answers}")


def _texts(given: Any) -> list[str]:
    return [given] if isinstance(given, str) else [message["content"] for message in given["messages"]]
