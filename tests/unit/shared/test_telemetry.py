"""Log lines of a process, see docs/operations.md."""

from __future__ import annotations

import json
import subprocess
import sys

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
