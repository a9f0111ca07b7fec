"""SECURITY.md names tests; they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "SECURITY.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`([a-z_/]+\.py)::(?:Test\w+::)?(test_\w+)`", PAGE)))


def test_each_row_names_a_test() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ")][2:]
    assert len(rows) > 10
    assert [row for row in rows if ".py::test_" not in row and "::test_" not in row] == []


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_each_test_that_the_page_names_is_there(file: str, test: str) -> None:
    assert re.search(rf"def {test}\(", (ROOT / "tests" / file).read_text("utf-8"))
