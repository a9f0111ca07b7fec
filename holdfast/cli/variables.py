"""Detect unknown HOLDFAST_ variables and suggest the likely intended ones."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from difflib import get_close_matches

from holdfast.gateway.settings import GatewaySettings
from holdfast.shared.settings import variables_of
from holdfast.worker.process.settings import WorkerSettings

PREFIX = "HOLDFAST_"
# Read by compose, by the failpoints of tests, and by the commands that call a gateway.
OTHERS = {f"{PREFIX}{name}" for name in ("CERTIFICATES", "FAILPOINTS", "GATEWAYS", "IMAGE", "SITE", "TOKEN", "WORKERS")}


def known_variables() -> set[str]:
    """Return the variables that gateways, workers and commands read."""
    return variables_of(GatewaySettings) | variables_of(WorkerSettings) | OTHERS


def unknown_variables(environment: Iterable[str]) -> Iterator[str]:
    """Return a line for each unknown HOLDFAST_ variable, with the most similar known name."""
    known = known_variables()
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in known:
            similar = get_close_matches(name, known, n=1, cutoff=0.85)
            hint = f"; did you mean {similar[0]}?" if similar else ""
            yield f"{name} is not a setting and has no effect{hint}"
