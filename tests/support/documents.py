"""The code blocks of the documentation. tests/documents.toml says how each is checked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

from tests.support.process import ROOT

PATTERNS = ("*.md", "docs/**/*.md", "clients/*/README.md", "examples/*/README.md", "deploy/*/README.md")
PAGES = sorted({str(page.relative_to(ROOT)) for pattern in PATTERNS for page in ROOT.glob(pattern)})
FENCE = re.compile(r"^( *)```(\w*)$")
INDENT = "    "


class Block(NamedTuple):
    """A fenced or indented block. `language`: "" where the page names none."""

    page: str
    line: int
    language: str
    text: str

    @property
    def first(self) -> str:
        """Its first line, by which the list names it."""
        return self.text.partition("\n")[0].strip()

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


@cache
def blocks(page: str) -> tuple[Block, ...]:
    """The blocks of a page, in its order. `page`: "docs/quickstart.md"."""
    return tuple(_parsed(page, (ROOT / page).read_text("utf-8").splitlines()))


def block(page: str, begin: str, language: str | None = None) -> str:
    """The text of the only block of a page that contains this, or that has the language."""
    [found] = [each for each in blocks(page) if begin in each.text and language in (None, each.language)]
    return found.text


def entries() -> dict[tuple[str, str], str]:
    """How blocks are checked, by page and first line."""
    pages = tomllib.loads((ROOT / "tests" / "documents.toml").read_text("utf-8"))
    return {(page, first): check for page, listed in pages.items() for first, check in listed.items()}


def checked_as(check: str) -> list[Block]:
    """The blocks that are checked so, in the order of pages and lines."""
    listed = entries()
    return [each for page in PAGES for each in blocks(page) if listed.get((page, each.first)) == check]


def _parsed(page: str, lines: list[str]) -> Iterator[Block]:
    number, after_blank = 0, True
    while number < len(lines):
        line = lines[number]
        if fence := FENCE.match(line):
            margin, language = fence[1], fence[2]
            end = lines.index(f"{margin}```", number + 1)
            text = _joined([line.removeprefix(margin) for line in lines[number + 1 : end]])
            yield Block(page, number + 1, language, text)
            number = end
        elif after_blank and line.startswith(INDENT):
            end = number
            while end < len(lines) and (not lines[end] or lines[end].startswith(INDENT)):
                end += 1
            yield Block(page, number + 1, "", _joined([line[len(INDENT) :] for line in lines[number:end]]))
            number = end - 1
        after_blank = not lines[number]
        number += 1


def _joined(lines: list[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"
