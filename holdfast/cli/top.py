"""`holdfast top`: the workers, the queue and the rates of a deployment on a terminal, as the console shows them."""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TextIO

import httpx

from holdfast.cli.connection import PATIENCE_S, GatewayError
from holdfast.cli.show import CONTROL

EVERY_S = 2.0
AVERAGED = 5  # pages: workers report their counts every few seconds, with their heartbeats
MOST_WORKERS = 20
CLEAR = "\x1b[H\x1b[J"

Answer = Mapping[str, Any]


def run(url: str, out: TextIO, *, once: bool) -> None:
    """Print a page every EVERY_S, on a terminal in place of the page before. `once`: print one page.

    Raises GatewayError."""
    token = os.environ.get("HOLDFAST_TOKEN")
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    taken: deque[Answer] = deque(maxlen=AVERAGED)
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=PATIENCE_S) as client:
        while True:
            overview, queue, workers = (_read(client, path) for path in ("overview", "queue", "workers?limit=100"))
            page = "\n".join(lines(overview, taken[0] if taken else None, queue, workers))
            out.write(f"{CLEAR if out.isatty() and not once else ''}{page}\n")
            out.flush()
            if once:
                return
            taken.append(overview)
            time.sleep(EVERY_S)


def lines(overview: Answer, before: Answer | None, queue: Answer, workers: Answer) -> Iterator[str]:
    """Yield the lines of a page. `before`: an earlier overview, for rates; None without one."""
    jobs = overview["jobs"]
    rate = "-" if before is None else f"{_rate(overview, before):.0f}/s"
    yield (
        f"workers {overview['workers']}  viewers {overview['viewers']}  tokens {rate}  "
        f"running {jobs['running']}  waiting {jobs['waiting']}  asking {jobs['asking']}  deferred {jobs['deferred']}  "
        f"oldest wait {duration(overview['oldest_wait_s'])}"
    )
    yield ""
    states = ("waiting", "running", "asking", "deferred")
    rows = [
        (row["agent"], *(row[state] for state in states), duration(row["oldest_wait_s"])) for row in queue["agents"]
    ]
    yield from table(("AGENT", "WAITING", "RUNNING", "ASKING", "DEFERRED", "OLDEST WAIT"), rows)
    if queue["tenants"]:
        yield ""
        yield from table(("TENANT", "OPEN", "RUNNING"), [tuple(row.values()) for row in queue["tenants"]])
    yield ""
    found = [_worker(worker, overview["at"]) for worker in workers["workers"]]
    yield from table(("WORKER", "JOBS", "HEARTBEAT", "STATE"), found[:MOST_WORKERS])
    if overview["workers"] > MOST_WORKERS:
        yield f"and {overview['workers'] - MOST_WORKERS} more"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> Iterator[str]:
    """Yield aligned lines: the first column to the left, the others to the right."""
    cells = [head, *([str(cell).translate(CONTROL) for cell in row] for row in rows)]
    widths = [max(len(row[at]) for row in cells) for at in range(len(head))]
    for row in cells:
        first, *rest = (cell.rjust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join([first.strip().ljust(widths[0]), *rest]).rstrip()


def duration(seconds: float | None) -> str:
    """Return a duration in words: 0.4 s, 12 s, 3 min; - for none."""
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _rate(overview: Answer, before: Answer) -> float:
    """Deltas a second. A worker that left takes its count along."""
    ms = max(int(overview["at"]) - int(before["at"]), 1)
    return max(int(overview["deltas"]) - int(before["deltas"]), 0) * 1000 / ms


def _worker(worker: Answer, now_ms: int) -> tuple[object, ...]:
    slots, beat_at = worker["slots"], worker["beat_at"]
    jobs = worker["job_count"] if slots is None else f"{worker['job_count']}/{slots}"
    age = duration(None if beat_at is None else max(now_ms - beat_at, 0) / 1000)
    return worker["worker_id"], jobs, age, "draining" if worker["draining"] else "works"


def _read(client: httpx.Client, path: str) -> Answer:
    try:
        response = client.get(f"/v1/{path}")
        answer: Answer = response.json()
    except (httpx.HTTPError, ValueError):
        raise GatewayError(f"no gateway answers at {client.base_url}") from None
    if response.status_code != 200:
        raise GatewayError(str(answer.get("detail", response.status_code)))
    return answer
