"""Each code block of the documentation is checked as tests/documents.toml says."""

from __future__ import annotations

import ast
import re
import subprocess

import orjson
import pytest
from holdfast.worker.agents.models import known_models

from holdfast.cli.variables import known_variables
from tests.support.document_commands import check_command, commands
from tests.support.documents import PAGES, Block, block, blocks, checked_as, entries
from tests.support.node import FOLDER, NODE
from tests.support.process import ROOT


def by_place(check: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("shown", checked_as(check), ids=lambda shown: shown.place)


@pytest.mark.parametrize("page", PAGES)
def test_the_list_says_how_each_block_of_a_page_is_checked(page: str) -> None:
    listed = entries()
    missing = [
        f'["{page}"] {orjson.dumps(each.first).decode()} = ' for each in blocks(page) if not _listed(each, listed)
    ]
    assert not missing, f"add to tests/documents.toml, with how it is checked: {missing}"


def test_each_entry_of_the_list_is_about_a_block() -> None:
    there = {(page, each.first) for page in PAGES for each in blocks(page)}
    assert entries().keys() <= there


@pytest.mark.parametrize("check", sorted(set(entries().values())))
def test_a_way_of_checking_exists(check: str) -> None:
    if check.startswith("tests/"):
        assert (ROOT / check).is_file()
    else:
        ways = ("run", "commands", "python", "javascript", "json", "settings")
        assert check in ways or re.fullmatch("not run: .{8,}", check)


@by_place("python")
def test_a_python_block_can_be_compiled(shown: Block) -> None:
    compile(shown.text, shown.place, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


@by_place("javascript")
def test_a_javascript_block_can_be_compiled(shown: Block) -> None:
    command = [NODE, "node_modules/esbuild/bin/esbuild", "--loader=jsx", "--format=esm", "--log-level=error"]
    done = subprocess.run(command, cwd=FOLDER, input=shown.text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@by_place("json")
def test_a_json_block_can_be_parsed(shown: Block) -> None:
    assert orjson.loads(shown.text.replace("{…}", "{}"))


@by_place("settings")
def test_the_settings_in_a_block_exist(shown: Block) -> None:
    assert set(re.findall(r"\bHOLDFAST_[A-Z_]*[A-Z]", shown.text)) <= known_variables()


@by_place("commands")
def test_the_commands_in_a_block_exist(shown: Block) -> None:
    for command in commands(shown.text):
        check_command(command)


def test_the_models_of_the_page_of_providers_are_understood() -> None:
    value = block("docs/providers.md", "assistant=openai").replace("\n", "")
    assert {"assistant", "sonnet", "local", "hosted"} <= known_models(value).keys()


def _listed(shown: Block, listed: dict[tuple[str, str], str]) -> bool:
    return (shown.page, shown.first) in listed
