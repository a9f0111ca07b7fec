"""A viewer in a process of its own, which measures how long it received no event: `lone_viewer URL SESSION`.

In a process with thousands of viewers, what is received late hides that nothing was sent.
"""

from __future__ import annotations

import asyncio
import sys
import time

from tests.support.history import Told, Transcript
from tests.support.sse import Frame
from tests.support.watcher import Watcher


class TimedTranscript(Transcript):
    """`longest_s`: the longest time between two events. Prints `begun` at the first one."""

    last_s = 0.0
    longest_s = 0.0

    def accept(self, frame: Frame) -> None:
        super().accept(frame)
        if not self.last_s:
            sys.stdout.write("begun\n")
            sys.stdout.flush()
        now_s = time.monotonic()
        self.longest_s = max(self.longest_s, now_s - (self.last_s or now_s))
        self.last_s = now_s


async def watch(url: str, session: str) -> float:
    """Watch a session until its job has ended. Returns the longest silence in seconds."""
    transcript = TimedTranscript(session, "lone viewer")
    watching = asyncio.create_task(Watcher([url], f"/v1/sessions/{session}/events?raw=true", transcript, 0).watch())
    while not any(isinstance(step, Told) and step.kind == "job.completed" for step in transcript.steps[-1:]):
        await asyncio.sleep(0.05)
    watching.cancel()
    return transcript.longest_s


if __name__ == "__main__":
    sys.stdout.write(f"{asyncio.run(watch(*sys.argv[1:])):.3f}\n")
