"""docs/reliability.md names tests; they are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGE = (ROOT / "docs" / "reliability.md").read_text("utf-8")
NAMED = sorted(set(re.findall(r"`([a-z_/]+\.py)::(test_\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "test"), NAMED)
def test_each_test_that_the_page_names_is_there(file: str, test: str) -> None:
    assert re.search(rf"def {test}\(", (ROOT / "tests" / file).read_text("utf-8"))


@pytest.mark.parametrize("row", range(1, 76))
def test_each_row_of_the_matrix_is_on_the_page(row: int) -> None:
    ranges = [(int(a), int(b or a)) for a, b in re.findall(r"^\| F(\d\d)(?: to F(\d\d))?", PAGE, re.MULTILINE)]
    ranges += [(int(b), int(b)) for b in re.findall(r"^\| F\d\d, F(\d\d)", PAGE, re.MULTILINE)]
    assert any(first <= row <= last for first, last in ranges)
