"""What the scripts rest on: lock files that contain one another, pin by hash and name no host."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.support.process import ROOT

NAMES = ["requirements.txt", "requirements-run.txt", "requirements-dev.txt"]
OLDEST = "tests/requirements-oldest.txt"
HOST = re.compile(r"://|[a-z0-9-]+\.(org|com|io|net|internal)\b")
FUNDING = re.compile(r'"funding": (\[.*?\]|\{.*?\})', re.DOTALL)  # npm records where to send money


def pins(name: str) -> set[str]:
    return set(re.findall(r"^[a-z][^ ;\\]*==[^ ;\\]*", (ROOT / name).read_text(), re.MULTILINE))


@pytest.mark.parametrize("name", [*NAMES, OLDEST, "tests/node/package-lock.json", "examples/web/package-lock.json"])
def test_it_names_no_host(name: str) -> None:
    assert HOST.findall(FUNDING.sub("", (ROOT / name).read_text())) == []


@pytest.mark.parametrize("name", [*NAMES, OLDEST])
def test_every_pin_has_a_hash(name: str) -> None:
    text = (ROOT / name).read_text()
    assert len(re.findall(r"^\S+==.*\\\n    --hash=sha256:", text, re.MULTILINE)) == len(pins(name)) > 0


def test_each_holds_all_of_the_smaller_one() -> None:
    assert pins("requirements.txt") < pins("requirements-run.txt") < pins("requirements-dev.txt")


@pytest.mark.parametrize(
    "path",
    [
        ".ci/run",
        "examples/web/run",
        *(f"scripts/{name}" for name in ["run", "test", "check", "lock", "venv", "node", "oldest"]),
    ],
)
def test_a_script_can_be_run(path: str) -> None:
    assert Path(ROOT / path).stat().st_mode & 0o111 == 0o111
