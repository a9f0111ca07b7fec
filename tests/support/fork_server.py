"""Run programs as forks of one process that has imported them: importing a gateway takes a second of CPU time."""

from __future__ import annotations

import importlib
import multiprocessing
import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path

from holdfast.shared import failpoints

from holdfast.cli.tether import die_with_parent

PRELOADED = ("holdfast.__main__", "holdfast.gateway.__main__", "holdfast.worker.__main__", "holdfast.client")


class Fork:
    """A program of ours, as `python -m` runs it, with its output in files. Has what tests use of `subprocess.Popen`."""

    def __init__(self, program: str, *arguments: str, env: Mapping[str, str], cwd: Path, out: Path, err: Path) -> None:
        out.touch()
        err.touch()
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(list(PRELOADED))
        self._process = context.Process(target=_run, args=(program, arguments, dict(env), cwd, out, err), daemon=True)
        self._process.start()
        assert self._process.pid
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        """Return the exit code, negative for a signal, or None while it runs."""
        return self._process.exitcode

    def wait(self, timeout_s: float | None = None) -> None:
        self._process.join(timeout_s)

    def send_signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)


def _run(program: str, arguments: list[str], env: Mapping[str, str], cwd: Path, out: Path, err: Path) -> None:
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # the pipe of the tests too, whose end ends the fork server
    die_with_parent(os.getppid())
    os.setsid()
    os.chdir(cwd)
    os.environ.clear()
    os.environ.update(env)
    sys.argv[1:] = arguments
    sys.path[:0] = filter(None, env.get("PYTHONPATH", "").split(os.pathsep))
    for stream, path in ((sys.stdout, out), (sys.stderr, err)):
        sink = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(sink, stream.fileno())
        os.close(sink)
        stream.reconfigure(write_through=True)  # type: ignore[union-attr]  # as with PYTHONUNBUFFERED
    importlib.reload(failpoints)  # it reads the environment when it is imported
    importlib.import_module(f"{program}.__main__").main()
