"""Tests go through the public face of product code. The places that do not may only become fewer."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = [
    path
    for folder in ("clients/python", "gateway", "holdfast", "shared", "worker")
    for path in (ROOT / folder).rglob("*.py")
]
TESTS = [path for path in (ROOT / "tests").rglob("*.py") if "node_modules" not in path.parts]

MOST = 30  # lower it with each place that goes


def defined(paths: list[Path]) -> set[str]:
    """The private names that are defined or assigned in these files."""
    names = set()
    for path in paths:
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                if ast.unparse(node.value) in ("self", "cls"):
                    names.add(node.attr)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                names.add(node.id)
    return {name for name in names if name.startswith("_") and name.strip("_") and not name.startswith("__")}


def places(path: Path, private: set[str]) -> Iterator[str]:
    """The private names that a test file accesses, imports or replaces, each with its line."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) not in ("self", "cls", "super()"):
            names = [node.attr]
        elif isinstance(node, ast.ImportFrom) and str(node.module).startswith("holdfast"):
            names = [one.name for one in node.names]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            names = [str(one.value) for one in node.args if isinstance(one, ast.Constant)]
        elif isinstance(node, ast.Tuple) and len(node.elts) == 2 and isinstance(node.elts[1], ast.Constant):
            names = [str(node.elts[1].value)]  # parameters of a test that replaces a method
        for name in private.intersection(names):
            yield f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: {name}"


def test_tests_do_not_reach_into_more_private_names() -> None:
    private = defined(PRODUCT) - defined([path for path in TESTS if path.parent.name == "support"])
    found = [place for path in TESTS for place in places(path, private)]
    listed = "\n".join(sorted(found))
    assert len(found) <= MOST, f"{len(found)} instead of at most {MOST}:\n{listed}"
    assert len(found) == MOST, f"only {len(found)} are left: lower MOST"
