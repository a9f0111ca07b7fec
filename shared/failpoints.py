"""Points at which tests make a process exit, freeze or fail. Without HOLDFAST_FAILPOINTS they do nothing.

`HOLDFAST_FAILPOINTS="after_claim=exit,before_append=raise@3"` names the action at a point (exit, stop or raise), and
with `@n` the pass at which it happens, by default the first. For tests only; read once at import.
"""

from __future__ import annotations

import os
import signal

from holdfast.shared.errors import HoldfastError

EXIT_CODE = 77


class FailpointReached(HoldfastError):
    """Raised by the action `raise`."""


def _read(text: str) -> dict[str, tuple[str, int]]:
    """Return the action at each point, and the pass at which it happens."""
    points = {}
    for part in filter(None, text.split(",")):
        name, _, action = part.partition("=")
        act, _, at = action.partition("@")
        points[name] = act, int(at or 1)
    return points


_ARMED = _read(os.environ.get("HOLDFAST_FAILPOINTS", ""))
_passed: dict[str, int] = {}


def failpoint(name: str) -> None:
    """Run the action that a test has set for this point."""
    if _ARMED and name in _ARMED:
        _reach(name, *_ARMED[name])


def _reach(name: str, act: str, at: int) -> None:
    _passed[name] = _passed.get(name, 0) + 1
    if _passed[name] != at:
        return
    match act:
        case "exit":
            os._exit(EXIT_CODE)
        case "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        case "raise":
            raise FailpointReached(name)
