"""docs/settings.md lists every setting with the default and the range of the settings classes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import pytest
from holdfast.gateway.settings import GatewaySettings
from holdfast.worker.process.settings import WorkerSettings
from pydantic.fields import FieldInfo

from holdfast.cli.variables import known_variables

PAGE = (Path(__file__).resolve().parents[3] / "docs" / "settings.md").read_text("utf-8")
ROWS = {
    variable: (default, allowed)
    for variable, default, allowed in re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| .+ \|$", PAGE, re.MULTILINE)
}
FIELDS: dict[str, FieldInfo] = {
    f"HOLDFAST_{name}".upper(): field
    for kind in (GatewaySettings, WorkerSettings)
    for name, field in kind.model_fields.items()
}


def default_cell(value: Any) -> str:
    if value in {None, ""}:
        return "–"
    return str(int(value)) if isinstance(value, bool) else str(value)


def range_cell(field: FieldInfo) -> str | None:
    """The range as the page has it; None where the page describes it in words."""
    if get_origin(field.annotation) is Literal:
        return ", ".join(get_args(field.annotation))
    if field.annotation is bool:
        return "0, 1"
    bounds = {type(bound).__name__: getattr(bound, type(bound).__name__.lower()) for bound in field.metadata}
    match bounds:
        case {"Ge": low, "Le": high}:
            return f"{low:,} to {high:,}"
        case {"Ge": low}:
            return f"from {low:,}"
    return None


@pytest.mark.parametrize("variable", sorted(FIELDS))
def test_each_setting_has_a_row_with_its_default_and_range(variable: str) -> None:
    field = FIELDS[variable]
    default, allowed = ROWS[variable]
    assert default.partition(" (")[0].strip("`") == default_cell(field.default)
    assert range_cell(field) in {None, allowed}


def test_the_page_names_no_variable_that_nothing_reads() -> None:
    assert set(re.findall(r"HOLDFAST_[A-Z_]*[A-Z]", PAGE)) <= known_variables()
