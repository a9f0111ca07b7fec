"""Names in the prose of the documentation exist: settings, paths and commands."""

from __future__ import annotations

import re

import pytest

from holdfast.cli.variables import known_variables
from tests.support.document_commands import check_command, commands
from tests.support.documents import PAGES
from tests.support.process import ROOT

FENCED = re.compile(r"^( *)```\w*\n.*?^\1```$", re.MULTILINE | re.DOTALL)
FOLDERS = "bench|clients|deploy|docs|examples|gateway|holdfast|scripts|shared|tests|worker"
PATH = re.compile(rf"((?:{FOLDERS})/[\w./*-]+)(?:::?\w.*)?")
TO_BE_ADDED = {
    f"{folder}{name}.py" for folder in ("gateway/dialects/", "tests/integration/test_") for name in ("plain", "lines")
}


@pytest.mark.parametrize("page", PAGES)
def test_each_setting_that_a_page_names_exists(page: str) -> None:
    known = known_variables()
    named = re.findall(r"\bHOLDFAST_[A-Z0-9_]+", (ROOT / page).read_text("utf-8"))
    unknown = {name for name in named if not (name.endswith("_") and any(each.startswith(name) for each in known))}
    assert unknown <= known


@pytest.mark.parametrize("page", PAGES)
def test_each_path_that_a_page_names_exists(page: str) -> None:
    named = {found[1] for code in codes(page) if (found := PATH.fullmatch(code))} - TO_BE_ADDED
    assert not [path for path in named if not any([*ROOT.glob(path), *(ROOT / "tests").glob(path)])]


@pytest.mark.parametrize("page", PAGES)
def test_each_command_that_a_page_names_exists(page: str) -> None:
    for code in codes(page):
        if code.startswith(("holdfast ", "scripts/")):
            for command in commands(re.sub(r"[<>]", "", code)):
                check_command(command)


def codes(page: str) -> list[str]:
    """What a page has between backticks."""
    prose = FENCED.sub("", (ROOT / page).read_text("utf-8"))
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", prose)]
