"""Run the processes of `holdfast dev`, pass their output on, and restart them when they exit."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from holdfast.cli.tether import tethered

# A process that exited sooner than this is restarted after a pause.
STEADY_SECONDS = 5.0
PAUSE_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Plan:
    """A process to start. `descriptors` stay open in the child; `reasons` names where users find the reason of its
    exit. `after_exit` is called with the id of the process before the next one is started."""

    name: str
    command: list[str]
    env: Mapping[str, str]
    cwd: Path
    descriptors: tuple[int, ...] = ()
    reasons: str = "its lines above"
    after_exit: Callable[[int], Awaitable[None]] | None = None


class Output(Protocol):
    """Takes the lines that processes write. The lines about their state are those of the process `dev`."""

    def write(self, process: str, line: str) -> None: ...


class Child:
    """A process of a plan, whose output and changes of state are passed on."""

    def __init__(self, plan: Plan, output: Output) -> None:
        self.name = plan.name
        self.reasons = plan.reasons
        self._plan = plan
        self._output = output
        self._process: asyncio.subprocess.Process | None = None
        self._reader: asyncio.Task[None] | None = None
        self._started_at = 0.0

    async def start(self) -> None:
        wrapped, lifeline = tethered(self._plan.command)
        self._started_at = time.monotonic()
        self._process = await asyncio.create_subprocess_exec(
            *wrapped,
            env=self._plan.env,
            cwd=self._plan.cwd,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            pass_fds=(*lifeline, *self._plan.descriptors),
            # Only the parent gets Ctrl-C from the terminal; it stops its children in order.
            start_new_session=True,
        )
        self._reader = asyncio.create_task(self._pass_output_on(self._process))

    @property
    def exit_code(self) -> int | None:
        """Negative for a signal; None while it runs."""
        return self._process.returncode if self._process else None

    @property
    def ended(self) -> str | None:
        """Describe its exit; None while it runs."""
        code = self.exit_code
        if code is None:
            return None
        return f"ended with exit code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"

    @property
    def waits(self) -> bool:
        """Whether it exited and will be restarted once the reason is fixed."""
        return False

    async def keep_up(self) -> None:
        """Restart it whenever it exits, until cancelled."""
        while True:
            await self.until_due()
            if self._process is not None and self._plan.after_exit is not None:
                await self._plan.after_exit(self._process.pid)
            await self.start()

    async def until_due(self) -> None:
        """Wait until it exits, and then for a pause if it exited early."""
        await self.wait()
        self.say_of_it(f"{self.ended}; starting it again")
        if time.monotonic() - self._started_at < STEADY_SECONDS:
            await asyncio.sleep(PAUSE_SECONDS)

    def say_of_it(self, what: str) -> None:
        self._output.write("dev", f"{self.name} {what}")

    async def stop(self, patience_s: float) -> None:
        """Send SIGTERM, and after `patience_s` SIGKILL to it and its children."""
        if self._process is None:
            return
        if self.ended is None:
            with suppress(ProcessLookupError):
                self._process.terminate()
        try:
            await asyncio.wait_for(self.wait(), patience_s)
        except TimeoutError:
            self.say_of_it(f"still runs after {patience_s:g} s; killing it")
            self.kill()
            await self.wait()

    def kill(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def wait(self) -> None:
        """Wait until it has exited and all its output was printed."""
        assert self._process is not None
        assert self._reader is not None
        await self._process.wait()
        with suppress(TimeoutError):
            # A grandchild may keep the pipe open.
            await asyncio.wait_for(asyncio.shield(self._reader), 1)

    async def _pass_output_on(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        rest = b""
        while chunk := await process.stdout.read(65_536):
            *lines, rest = (rest + chunk).split(b"\n")
            for line in lines:
                self._output.write(self.name, line.decode(errors="replace"))
        if rest:
            self._output.write(self.name, rest.decode(errors="replace"))
