"""The list of guards is kept up: scripts/sabotage takes long, and an entry that has gone stale shows nothing."""

from __future__ import annotations

import re

from tests.support.sabotage import ROOT, guards


def test_each_guard_stands_once_in_its_file() -> None:
    stale = [guard["name"] for guard in guards() if (ROOT / guard["file"]).read_text("utf-8").count(guard["old"]) != 1]
    assert stale == []


def test_each_guard_names_tests_that_are_there() -> None:
    missing = [test for guard in guards() for test in guard["tests"] if not _exists(test)]
    assert missing == []


def _exists(test: str) -> bool:
    path, *names = test.partition("[")[0].split("::")
    text = (ROOT / path).read_text("utf-8") if (ROOT / path).is_file() else ""
    return all(re.search(rf"(def|class) {name}\b", text) for name in names) and bool(text)
