"""Links and file names in the documents lead to files and headings that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
LINK = re.compile(r"\]\((?!https?://)([^)#\s]*)(?:#([^)\s]*))?\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
SHOWN = re.compile(r"`([\w./-]+)`:\n\n```python$", re.MULTILINE)  # files whose text follows, for the reader to create
FOLDERS = "bench|clients|deploy|docs|examples|gateway|holdfast|scripts|shared|tests|worker"


def anchors(page: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in HEADING.findall(page)}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_relative_link_leads_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text("utf-8")):
        file = (page.parent / target) if target else page
        assert file.exists(), target
        if anchor:
            assert anchor in anchors(file.read_text("utf-8")), f"{target}#{anchor}"


@pytest.mark.parametrize("folder", [ROOT / "docs", ROOT / "docs" / "dialects"], ids=lambda folder: folder.name)
def test_the_index_of_a_folder_lists_its_pages(folder: Path) -> None:
    links = [target for target, _ in LINK.findall((folder / "README.md").read_text("utf-8"))]
    assert {str(page.relative_to(folder)) for page in folder.rglob("*.md")} - {"README.md"} <= set(links)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_each_file_of_the_repository_that_a_page_names_exists(page: Path) -> None:
    text = page.read_text("utf-8")
    shown = SHOWN.findall(text)
    for name in set(re.findall(rf"`((?:{FOLDERS})/[\w./-]+)`", text)).difference(shown):
        assert (ROOT / name).exists(), name
