"""The dialects that docs/dialects/README.md shows are created in a copy of the tree, and pass their tests there."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.documents import blocks
from tests.support.process import ROOT
from tests.support.sabotage import copy_tree

PAGE = (ROOT / "docs" / "dialects" / "README.md").read_text("utf-8")
FILE = re.compile(r"`((?:gateway|tests)/[\w/]+\.py)`:\n\n```(python|diff)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def changed(text: str, diff: str) -> str:
    """Apply a diff of an import and of an entry. The linter sorts the imports."""
    imports, entry = diff.split("@@\n")
    before, after = (
        "".join(line[1:] for line in entry.splitlines(keepends=True) if line[0] in kept) for kept in (" -", " +")
    )
    assert text.count(before) == 1, before
    start = text.index("from holdfast.")
    text = text[:start] + imports.removeprefix("+") + text[start:].replace(before, after)
    return linted(text, "check", "--select", "I", "--fix-only", "--quiet").stdout


def linted(text: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run the linter on a text."""
    ruff = [str(Path(sys.executable).parent / "ruff"), *command, "--no-cache", "-"]
    return subprocess.run(ruff, cwd=ROOT, input=text, check=False, capture_output=True, text=True)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree with what the page shows."""
    tree = tmp_path_factory.mktemp("tree")
    copy_tree(tree)
    for name, kind, text in FILE.findall(PAGE):
        file = tree / name
        file.write_text(text if kind == "python" else changed(file.read_text("utf-8"), text), "utf-8")
    return tree


def test_every_block_of_the_page_is_a_file_or_its_change() -> None:
    kinds = [each.language for each in blocks("docs/dialects/README.md") if each.language]
    assert kinds == [kind for _, kind, _ in FILE.findall(PAGE)]


def test_the_dialects_of_the_page_pass_their_tests(tree: Path) -> None:
    tests = [name for name, *_ in FILE.findall(PAGE) if name.startswith("tests/")]
    assert len(tests) == 2
    command = [sys.executable, "-m", "pytest", "-q", "-n", "0", "-p", "no:cacheprovider", *tests]
    run = subprocess.run(command, cwd=tree, check=False, capture_output=True, text=True, timeout=90)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("command", [["check"], ["format", "--check"]], ids=lambda command: command[0])
@pytest.mark.parametrize("name", [name for name, *_ in FILE.findall(PAGE)])
def test_a_file_of_the_page_passes_the_linter(tree: Path, name: str, command: list[str]) -> None:
    run = linted((tree / name).read_text("utf-8"), *command, "--stdin-filename", name)
    assert run.returncode == 0, run.stdout + run.stderr
