"""The list of guards is kept up: scripts/sabotage takes long, and an entry that has gone stale shows nothing."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.support.sabotage import ROOT, guards, without


@pytest.mark.parametrize("guard", guards(), ids=lambda guard: guard["name"])
def test_each_guard_is_there(guard: dict[str, Any]) -> None:
    text = (ROOT / guard["file"]).read_text("utf-8")
    assert without(guard, text) != text


def test_each_guard_names_tests_that_are_there() -> None:
    missing = [test for guard in guards() for test in guard["tests"] if not _exists(test)]
    assert missing == []


def _exists(test: str) -> bool:
    path, *names = test.partition("[")[0].split("::")
    text = (ROOT / path).read_text("utf-8") if (ROOT / path).is_file() else ""
    return all(re.search(rf"(def|class) {name}\b", text) for name in names) and bool(text)
