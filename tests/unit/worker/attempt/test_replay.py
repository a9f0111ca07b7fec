"""Waiting until everything that is kept was emitted again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, cast

import pytest
from holdfast.shared.errors import Fenced
from holdfast.shared.ids import EventId
from holdfast.worker.attempt import replay
from holdfast.worker.attempt.journal import Journal
from holdfast.worker.attempt.replay import Replay

from tests.support.process import until


class Kept:
    """Events of which none has been read yet."""

    first, until = EventId(1, 1), EventId(2, 1)


class Recorded:
    """A journal without steps, and its log. Notes which tasks ask whether the attempt still has its session."""

    def __init__(self, confirm: Callable[[], None]) -> None:
        self.marks: dict[str, Any] = {}
        self.recording = asyncio.Lock()
        self.asked_by: list[Any] = []
        self._confirm = confirm

    async def confirm(self) -> None:
        self.asked_by.append(asyncio.current_task())
        self._confirm()


def replay_with(journal: Recorded) -> Replay:
    unused = cast("Any", None)
    return Replay(unused, cast("Any", Kept()), cast("Journal", journal), cast("Any", journal), log_keys={})


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "CHECKS", 3000)


async def test_one_task_checks_for_all_parts_of_an_agent_that_wait() -> None:
    """A check looks at all tasks: one in each of them would be quadratic work."""
    journal = Recorded(lambda: None)
    stands_in = replay_with(journal)
    parts = [asyncio.create_task(stands_in.caught_up()) for _ in range(50)]
    await until(lambda: len(journal.asked_by) >= 3)
    assert len(set(journal.asked_by)) == 1
    for part in parts[1:]:
        part.cancel()
    await asyncio.gather(*parts[1:], return_exceptions=True)
    checks = len(journal.asked_by)
    await until(lambda: len(journal.asked_by) > checks)
    stands_in.close(Fenced())
    with pytest.raises(Fenced):
        await parts[0]


async def test_all_parts_that_wait_fail_when_another_attempt_has_the_session() -> None:
    def refuse() -> None:
        raise Fenced

    stands_in = replay_with(Recorded(refuse))
    parts = [asyncio.create_task(stands_in.caught_up()) for _ in range(3)]
    found = await asyncio.gather(*parts, return_exceptions=True)
    assert [type(error) for error in found] == [Fenced] * 3


async def test_nobody_checks_while_nobody_waits() -> None:
    journal = Recorded(lambda: None)
    stands_in = replay_with(journal)
    first = asyncio.create_task(stands_in.caught_up())
    await until(lambda: bool(journal.asked_by))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await until(journal.asked_by[-1].done)
    second = asyncio.create_task(stands_in.caught_up())
    await until(lambda: len(set(journal.asked_by)) == 2)
    stands_in.close(Fenced())
    await asyncio.gather(second, return_exceptions=True)
