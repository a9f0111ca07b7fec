"""Write the output of all processes of `holdfast dev` in one format: text on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import sys
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import click
import orjson

from holdfast.shared.telemetry import TextRenderer, wants_colors
from holdfast.worker.agents.models import WITHOUT_KEY


class Console:
    """Writes lines to stderr. Of the notice about agents without a key, text has the first, at the end of the start."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json
        self._render = TextRenderer(colors=wants_colors(sys.stderr))
        self._notice = ""
        self._announced = False

    def write(self, process: str, line: str) -> None:
        """Write a line of a process: an entry of its log, or any other output."""
        logged = _log_entry(line)
        if self._as_json:
            text = line if logged else _as_json(process, line)
        else:
            text = self._render(None, "", logged or _entry(process, line))
            if logged and logged["event"] == WITHOUT_KEY:
                known, self._notice = self._notice, self._notice or text
                text = "" if known or not self._announced else text
        _print(text)

    def announce(self, url: str) -> None:
        """Write to stdout where Holdfast is, once it is up."""
        if self._as_json:
            print(_as_json("dev", f"Holdfast is at {url}"), flush=True)
            return
        _print(self._notice)
        self._announced = True
        bold = wants_colors(sys.stdout)
        page, console = (click.style(address, bold=True) if bold else address for address in (url, f"{url}/console"))
        print(f"\nHoldfast is at {page}\nThe console is at {console}\nCtrl-C stops it.\n", flush=True)


def _print(text: str) -> None:
    # The terminal may be gone, but the pipes of the processes must still be read.
    with suppress(OSError):
        sys.stderr.write(f"{text}\n" if text else "")
        sys.stderr.flush()


def _log_entry(line: str) -> dict[str, Any] | None:
    """Parse a line of a process's log. Returns None for other output, such as the JSON of an agent's own logger."""
    try:
        entry: dict[str, Any] = orjson.loads(line) if line.startswith("{") else {}
        datetime.fromisoformat(entry["timestamp"])
    except (KeyError, TypeError, ValueError):
        return None
    return entry if {"event", "level", "process"} <= entry.keys() else None


def _entry(process: str, line: str) -> dict[str, Any]:
    return {"event": line, "process": process, "timestamp": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%fZ}"}


def _as_json(process: str, line: str) -> str:
    return orjson.dumps(_entry(process, line) | {"level": "info"}).decode()
