"""The JavaScript client's parts, by Node's own test runner."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.support.node import NODE

FOLDER = Path(__file__).parent / "js"


@pytest.mark.parametrize("name", sorted(path.name for path in FOLDER.glob("*.test.mjs")))
def test_the_tests_of_a_module_pass(name: str) -> None:
    command = [NODE, "--test", "--test-timeout=30000", "--test-reporter=spec", name]
    ran = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
