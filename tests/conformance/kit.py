"""Carries out the checks on one server, each by itself, and says of each how it went."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from tests.conformance.adapter import Adapter, Job, NotOffered
from tests.conformance.card import Card, Outcome, Result
from tests.conformance.viewer import Failed, Viewer
from tests.support.sse import Frame

CHECK_S = 100.0
RECORDED_TOKENS = 120
VIEWERS = 40


@dataclass(frozen=True, slots=True)
class Recorded:
    """A job that has ended, as a viewer saw it whole. `body`: the bytes of the answer to one that came afterwards."""

    job: Job
    text: str
    frames: Sequence[Frame]
    body: bytes


@dataclass(frozen=True, slots=True)
class Takeover:
    """What came of a job whose worker was killed. `silence_s`: from the kill to the next event of the job."""

    job: Job
    watcher: Viewer
    silence_s: float | None
    failure: str


class Kit:
    """What the checks share: the server's adapter, one recorded job, and one takeover."""

    def __init__(self, adapter: Adapter, patience_s: float = 4, viewers: int = VIEWERS) -> None:
        self.adapter = adapter
        self.viewers = viewers  # of the checks in which many resume
        self.patience_s = patience_s  # how long silence has to last until it counts as silence for good
        self.takeover: Takeover | None = None
        self._recorded: Recorded | None = None

    def viewer(self, job: Job, *, exact: bool = False, cursor: str | None = None, first_gateway: int = 0) -> Viewer:
        path = (job.exact if exact else "") or job.path
        return Viewer(self.adapter, path, cursor=cursor, first_gateway=first_gateway)

    async def recorded(self) -> Recorded:
        """One job for all checks that need no running one. Raises Failed when it cannot even be read undisturbed."""
        if self._recorded is None:
            job = await self.adapter.start(RECORDED_TOKENS, 0)
            live = await self.viewer(job, exact=True).finish()
            if not live.text:
                raise Failed("a viewer that nothing disturbs is told no text")
            if job.text is not None:
                live.must_say(job.text)
            async with self.viewer(job).stream() as stream:
                async for _ in stream.chunks():
                    pass
            # What has no id, where others have one, was said of the moment: that the job waits in line, say.
            frames = [frame for frame in live.frames if frame.id] or live.frames
            self._recorded = Recorded(job, live.text, frames, bytes(stream.body))
        return self._recorded


Check = Callable[[Kit], Awaitable[str | None]]


def title(check: Check) -> str:
    """What a check checks: the first line of its docstring."""
    return (check.__doc__ or check.__name__).strip().partition("\n")[0]


async def run(check: Check, kit: Kit) -> Result:
    """Carry out one check. Whatever goes wrong in it is the server's failure."""
    try:
        async with asyncio.timeout(CHECK_S):
            remark = await check(kit)
    except NotOffered as reason:
        return Result(title(check), Outcome.LEFT_OUT, str(reason))
    except Failed as failed:
        return Result(title(check), Outcome.FAILED, str(failed))
    except TimeoutError:
        return Result(title(check), Outcome.FAILED, f"not over after {CHECK_S:.0f} s")
    except Exception as error:  # noqa: BLE001 - the next check is still to be carried out
        return Result(title(check), Outcome.FAILED, f"{type(error).__name__}: {error}".partition("\n")[0])
    return Result(title(check), Outcome.PASSED, remark or "")


async def examine(
    adapter: Adapter, checks: Sequence[Check], report: Callable[[Result], None], viewers: int = VIEWERS
) -> Card:
    """Carry out the checks in their order. `report` hears of each result at once."""
    kit = Kit(adapter, viewers=viewers)
    card = Card(adapter.name)
    async with adapter:
        for check in checks:
            result = await run(check, kit)
            card.results.append(result)
            report(result)
    return card
