"""The texts of the Lua scripts."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from holdfast.shared.scripts import source

from tests.support.process import ROOT

SCRIPTS = ROOT / "shared" / "scripts"
NAMES = [
    (family, path.stem)
    for family in ("queue", "session")
    for path in sorted(Path(SCRIPTS / family).glob("*.lua"))
    if path.stem != "prelude"
]
FUNCTION = re.compile(r"^local function (\w+)", re.MULTILINE)


@pytest.mark.parametrize(("family", "name"), NAMES)
def test_a_script_has_the_functions_of_its_prelude_that_it_uses_and_no_others(family: str, name: str) -> None:
    text = re.sub(r"--.*", "", source(family, name))
    own = re.sub(r"--.*", "", (SCRIPTS / family / f"{name}.lua").read_text())
    of_prelude = FUNCTION.findall((SCRIPTS / family / "prelude.lua").read_text())
    defined = FUNCTION.findall(text)
    for function in set(of_prelude) - set(FUNCTION.findall(own)):
        calls = re.findall(rf"(?<!function )\b{function}\(", text)
        assert bool(calls) == (function in defined), function
