"""Terms that were replaced, and by what: none of the old ones may come back. docs/glossary.md defines today's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
REPLACED = {
    "nudge": "control entry",
    "Holder": "LogWriter; the role is the lease owner",
    "Proof": "append permit",
    "Wish": "StreamRequest",
    "Outlet": "Transport",
    "Arrivals": "Subscriber",
    "Pulse": "KeepAlive",
    "House": "callbacks",
    "ShortWay": "FastPath",
    "Offers": "AgentCatalog",
    "Alike": "EntryColumns",
    "Wire": "RedisConnection",
    "Pipe": "AutoPipeline",
    "Ring": "wake-up",
    "bell": "wake-up",
    "Station": "delivery context",
    "Alone": "IsolatedAttempt",
    "Vigil": "FailureDetector",
    "Sighting": "observation",
    "insist": "retry until available",
    "hasten": "best effort",
    "heed": "poll intents",
    "weigh": "update the estimate",
    "Voice": "emitter",
    "Speech": "emitter",
    "Succession": "fallback chain",
    "crowd": "reconnect storm",
}
TEXTS = ("*.py", "*.lua", "*.js", "*.md", "*.html", "*.toml", "*.yml", "*.sh", "scripts/*")


def texts() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *TEXTS],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    own = [ROOT / name for name in listed if name and "/vendor/" not in name]
    return [path for path in own if path != Path(__file__).resolve()]


@pytest.mark.parametrize("term", REPLACED)
def test_a_term_that_was_replaced_is_not_used(term: str) -> None:
    word = re.compile(rf"\b{term}\b")
    found = [str(path.relative_to(ROOT)) for path in texts() if path.is_file() and word.search(path.read_text("utf-8"))]
    assert found == [], f"write {REPLACED[term]}"
