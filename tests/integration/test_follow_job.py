"""One job followed in metrics, spans and log lines, as docs/operations.md shows it."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.follow_job import follow
from tests.support.process import Processes

PAGE = Path(__file__).resolve().parents[2] / "docs/operations.md"


async def test_what_the_docs_show_of_one_job_is_what_its_processes_report(processes: Processes, redis_url: str) -> None:
    _, _, text = PAGE.read_text("utf-8").partition("## One job, followed\n")
    shown = "\n".join(line[4:] for line in text.partition("\n## ")[0].splitlines() if line.startswith("    "))
    found = await follow(processes, redis_url)

    counted = dict(re.findall(r"^(holdfast_\S+) (\S+)$", shown, re.MULTILINE))
    assert counted.keys() <= found.metrics.keys()
    # When the two ends of a stream meet, and so how its events are gathered, differs between runs.
    steady = {
        name for name in counted if "_sum" not in name and not name.startswith(("holdfast_stream_", "holdfast_append"))
    }
    assert {name: float(counted[name]) for name in steady} == {name: found.metrics[name] for name in steady}
    assert re.findall(r"^ *[\d.]+ ms ([a-z ]+?) {2,}[\d.]+ ms", shown, re.MULTILINE) == [s.name for s in found.spans]
    assert re.findall(r'"event": "([a-z ]+)"', shown) == [line["event"] for line in found.lines]
    assert {key for line in found.lines for key in line} == set(re.findall(r'"(\w+)":', shown)) | {"level", "process"}
