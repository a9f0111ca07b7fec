"""Child processes of a run: pinned to a core, measured from /proc, stopped with the run or the benchmark."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO

from bench.ledger import InvalidRun
from holdfast.cli.tether import tethered

ROOT = Path(__file__).resolve().parents[1]
CACHE = ROOT / ".cache" / "bench"
START_S = 20.0


class Child:
    """A started process. With `dialogue`, `ask` and `tell` speak with it by lines on stdin and stdout."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        log: Path,
        core: int | None = None,
        env: Mapping[str, str] | None = None,
        dialogue: bool = False,
        cwd: Path = ROOT,
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        pinned = ["taskset", "-c", str(core), *command] if core is not None and shutil.which("taskset") else [*command]
        wrapped, descriptors = tethered(pinned)
        with log.open("ab") as sink:
            self._process = subprocess.Popen(
                wrapped,
                cwd=cwd,
                env=_clean_environment() | dict(env or {}),
                stdin=subprocess.PIPE if dialogue else subprocess.DEVNULL,
                stdout=subprocess.PIPE if dialogue else sink,
                stderr=sink,
                pass_fds=descriptors,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        return self._process.poll() is None

    def tell(self, line: str) -> None:
        _pipe(self._process.stdin).write(line.encode() + b"\n")
        _pipe(self._process.stdin).flush()

    def listen(self) -> bytes:
        """The next line of output. Raises InvalidRun when the process ended instead."""
        line = _pipe(self._process.stdout).readline()
        if not line:
            raise InvalidRun(f"{self.name} ended: {self.output()[-300:].strip()}")
        return line

    def ask(self, line: str) -> bytes:
        self.tell(line)
        return self.listen()

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    async def until_output(self, *texts: str) -> None:
        """Wait until the output has one of the texts. Raises InvalidRun when it ended before or took too long."""
        deadline = time.monotonic() + START_S
        while not any(text in self.output() for text in texts):
            if not self.running or time.monotonic() > deadline:
                raise InvalidRun(f"{self.name} did not start: {self.output()[-500:].strip()}")
            await asyncio.sleep(0.02)

    def cpu_s(self) -> float:
        """CPU time of the process and its descendants that live, in ns steps."""
        return sum(_thread_ns(task) for pid in self._family() for task in _tasks(pid)) / 1e9

    def memory_kib(self) -> float:
        """Proportional set size of the process and its descendants: shared pages count once."""
        return sum(_pss_kib(pid) for pid in self._family())

    def kill(self) -> None:
        self._process.kill()

    def stop(self) -> None:
        """SIGTERM, and after five seconds SIGKILL for the whole family."""
        family = self._family()
        if self.running:
            self._process.terminate()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for pid in family[1:]:
            _kill_child(pid)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _family(self) -> list[int]:
        family = [self.pid]
        for pid in family:
            family += _children(pid)
        return family


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None, "started without dialogue"
    return pipe


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _tasks(pid: int) -> list[Path]:
    try:
        return list(Path(f"/proc/{pid}/task").iterdir())
    except OSError:
        return []


def _thread_ns(task: Path) -> int:
    try:
        return int((task / "schedstat").read_text().split()[0])
    except OSError:
        return 0


def _pss_kib(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(float(line.split()[1]) for line in lines if line.startswith("Pss:"))


def _kill_child(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _clean_environment() -> dict[str, str]:
    """Return the environment without variables that configure Holdfast, a provider or a proxy."""
    foreign = ("HOLDFAST_", "OPENAI_", "ANTHROPIC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    kept = {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")}
    return kept | {"PYTHONUNBUFFERED": "1", "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def listening(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def await_listening(child: Child, port: int) -> None:
    """Wait until something listens on the port. Raises InvalidRun when the process ended or took too long."""
    await_true(lambda: listening(port), child)


def await_true(condition: Callable[[], bool], child: Child) -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        if not child.running or time.monotonic() > deadline:
            raise InvalidRun(f"{child.name} did not start: {child.output()[-500:].strip()}")
        time.sleep(0.02)
