"""Start child processes that never outlive their parent, even if that gets SIGKILL.

`tethered(command)` wraps a command in this file run as a script, which uses only the standard library. On Linux the
script sets the parent-death signal and executes the command. Elsewhere it stays the command's parent, and kills the
command when a pipe to the original parent closes.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from functools import cache

_PR_SET_PDEATHSIG = 1
_LINUX = sys.platform == "linux"


def tethered(command: Sequence[str], *, by_pipe: bool = not _LINUX) -> tuple[list[str], tuple[int, ...]]:
    """Return the command to start instead, and the file descriptors to pass to it.

    Start it from the main thread: on Linux the parent-death signal is sent when the starting thread ends.
    """
    shim = [sys.executable, "-I", "-S", __file__]
    if by_pipe:
        lifeline, _ = _lifeline()
        return [*shim, str(os.getpid()), str(lifeline), *command], (lifeline,)
    return [*shim, str(os.getpid()), "-", *command], ()


@cache
def _lifeline() -> tuple[int, int]:
    """Open the one pipe for all children. This process keeps its write end open while it runs."""
    return os.pipe()


def main(arguments: Sequence[str]) -> int:
    parent, lifeline, *command = arguments
    if lifeline == "-":
        die_with_parent(int(parent))
        os.execvp(command[0], command)  # noqa: S606 - no shell wanted
    return _hold(int(lifeline), command)


def die_with_parent(parent: int) -> None:
    import ctypes  # noqa: PLC0415 - of no use to the other way

    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        # The parent died before the call above took effect.
        sys.exit(1)


def _hold(lifeline: int, command: Sequence[str]) -> int:
    """Run the command until it exits or the pipe closes. Returns its exit code, 128 + n for signal n."""
    child = subprocess.Popen(command)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: child.send_signal(received))
    threading.Thread(target=_kill_at_end, args=(lifeline, child), daemon=True).start()
    code = child.wait()
    return code if code >= 0 else 128 - code


def _kill_at_end(lifeline: int, child: subprocess.Popen[bytes]) -> None:
    os.read(lifeline, 1)
    child.kill()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
