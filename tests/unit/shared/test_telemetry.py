"""Log lines of a process, see docs/operations.md and docs/settings.md."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from typing import Any

import pytest
from holdfast.shared.telemetry import TextRenderer, wants_colors

LINES = """
import contextvars, threading, structlog
from holdfast.shared.telemetry import configure

configure(as_json=True, process="worker")
log = structlog.get_logger()
log.info("in the main thread")
contextvars.Context().run(log.info, "in a callback")
thread = threading.Thread(target=log.info, args=("in a thread",))
thread.start()
thread.join()
"""


def test_each_line_names_its_process_whatever_context_it_is_written_in() -> None:
    done = subprocess.run([sys.executable, "-c", LINES], capture_output=True, text=True, check=True, timeout=60)
    lines = [json.loads(line) for line in done.stderr.splitlines()]
    assert [(line["event"], line["process"]) for line in lines] == [
        ("in the main thread", "worker"),
        ("in a callback", "worker"),
        ("in a thread", "worker"),
    ]
    assert all({"level", "timestamp"} <= set(line) for line in lines)


IDS: dict[str, Any] = {"session_id": "s1", "job_id": "j1"}


def text(event: str, process: str = "worker", level: str = "info", *, colors: bool = False, **fields: Any) -> str:
    entry = {"event": event, "process": process, "level": level, "timestamp": "2026-11-22T18:14:17.668027Z", **fields}
    return re.sub(r"\d\d:\d\d:\d\d", "HH:MM:SS", TextRenderer(colors=colors)(None, "", entry), count=1)


def test_the_end_of_a_job_is_its_agent_and_its_time() -> None:
    assert text("job completed", agent="parrot", ms=402, **IDS) == "HH:MM:SS worker  parrot completed 402 ms"


def test_fields_follow_the_event() -> None:
    assert text("listening", "gateway", host="::1", port=8000) == "HH:MM:SS gateway listening host=::1 port=8000"
    assert text("said", agents=["a", "b"], why="not set") == "HH:MM:SS worker  said agents=a,b why='not set'"


def test_the_name_of_the_process_is_not_repeated() -> None:
    assert text("worker started", max_jobs=100, worker_id="w") == "HH:MM:SS worker  started max_jobs=100"


def test_a_warning_is_marked_and_names_its_job() -> None:
    line = text("job failed", level="warning", agent="parrot", code="agent_error", ms=7, **IDS)
    assert line == "HH:MM:SS worker  warning: parrot failed 7 ms code=agent_error job_id=j1 session_id=s1"
    assert text("worker is dead", level="error").startswith("HH:MM:SS worker  error: worker is dead")


def test_a_traceback_follows_its_line() -> None:
    assert text("agent raised", exception="Traceback …\nValueError") == (
        "HH:MM:SS worker  agent raised\nTraceback …\nValueError"
    )


def test_a_control_character_of_a_value_does_not_reach_the_terminal() -> None:
    assert "\x1b" not in text("sessions cannot be read", error="\x1b[2J")


def test_colors_change_no_word() -> None:
    colored = text("job failed", level="warning", colors=True, agent="parrot", ms=7)
    assert "\x1b[" in colored
    assert re.sub(r"\x1b\[\d+m", "", colored) == text("job failed", level="warning", agent="parrot", ms=7)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_only_a_terminal_without_no_color_gets_colors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert wants_colors(Terminal())
    assert not wants_colors(io.StringIO())
    monkeypatch.setenv("NO_COLOR", "1")
    assert not wants_colors(Terminal())
