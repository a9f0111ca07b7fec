"""docs/architecture.md lists the internals of other projects that product code uses: all of them, and no others."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType

import pytest

ROOT = Path(__file__).resolve().parents[3]
PRODUCT = [
    path for folder in ("gateway", "holdfast", "shared", "worker") for path in sorted((ROOT / folder).rglob("*.py"))
]
TREES = {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in PRODUCT}

# Their names have no underscore, but no page of the project's documentation mentions them.
UNDOCUMENTED = ("redis.asyncio.connection", "redis.commands", "uvicorn.protocols", "uvicorn.server")
# These have an underscore, and the documentation of Python describes them.
DOCUMENTED = {"_asdict", "_current_frames", "_exit", "_fields", "_make", "_replace"}

HEADING = "## Internals of other projects"
ROW = re.compile(r"^\| (`.+`) \| (`.+`) \| .+ \| (`tests/.+`) \|$", re.MULTILINE)
QUOTED = re.compile(r"`([^`]+)`")


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


def is_third_party(module: str) -> bool:
    return module.partition(".")[0] not in {*sys.stdlib_module_names, "holdfast"}


def is_internal(name: str) -> bool:
    return any(map(is_private, name.split("."))) or any(name.startswith(f"{module}.") for module in UNDOCUMENTED)


def imports(tree: ast.Module) -> dict[str, str]:
    """The full names of what a module imports from third parties, by the names that they have there."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.asname or name.name: name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {name.asname or name.name: f"{node.module}.{name.name}" for name in node.names}
    return {short: name for short, name in found.items() if is_third_party(name)}


def defined(node: ast.AST) -> set[str]:
    """The names that are assigned or defined anywhere below a node."""
    names = set()
    for one in ast.walk(node):
        if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(one.name)
        elif isinstance(one, ast.Attribute) and isinstance(one.ctx, ast.Store):
            names.add(one.attr)
        elif isinstance(one, ast.Name) and isinstance(one.ctx, ast.Store):
            names.add(one.id)
    return names


OWN = set().union(*map(defined, TREES.values()))


def bases(node: ast.ClassDef, imported: dict[str, str]) -> Iterator[type]:
    """The third-party classes that a class extends, nearest first."""
    for base in map(ast.unparse, node.bases):
        short, _, rest = base.partition(".")
        if short in imported:
            module, _, name = f"{imported[short]}.{rest}".strip(".").rpartition(".")
            cls = getattr(importlib.import_module(module), name)
            yield from (one for one in cls.__mro__ if is_third_party(one.__module__))


def of_class(node: ast.ClassDef, imported: dict[str, str]) -> Iterator[str]:
    """Methods of third parties that a class overrides, unless they are abstract, and their private attributes."""
    methods = {one.name for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    accessed = {one.attr for one in ast.walk(node) if isinstance(one, ast.Attribute)}
    seen: set[str] = set()
    for base in bases(node, imported):
        if getattr(base, "_is_protocol", False):
            continue
        theirs = vars(base)
        has = {*theirs, *defined(ast.parse(inspect.cleandoc(f"\n{inspect.getsource(base)}")))}
        abstract = getattr(base, "__abstractmethods__", ())
        overridden = {name for name in methods if isinstance(theirs.get(name), FunctionType) and name not in abstract}
        private = {name for name in methods | accessed if is_private(name) and name in has}
        new = {name for name in overridden | private if not name.startswith("__")} - seen
        seen |= new
        yield from (f"{base.__module__}.{base.__name__}.{name}" for name in new)


def used() -> dict[str, set[str]]:
    """The internals of third parties in product code, each with the files that use it."""
    found = defaultdict(set)
    for file, tree in TREES.items():
        imported = imports(tree)
        for name in filter(is_internal, imported.values()):
            found[name].add(file)
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                for name in of_class(node, imported):
                    found[name].add(file)
            elif isinstance(node, ast.Attribute) and is_private(node.attr) and node.attr not in OWN | DOCUMENTED:
                found[node.attr].add(file)
    # An attribute that a base class of the file has is listed with that class alone.
    full = {(name.rpartition(".")[2], file) for name in found if "." in name for file in found[name]}
    return {name: files for name in found if (files := {file for file in found[name] if (name, file) not in full})}


def full_names(names: list[str]) -> Iterator[str]:
    """Names of a row. One that begins with a dot belongs to the class before it."""
    owner = ""
    for name in names:
        owner = owner if name.startswith(".") else name
        yield name if name == owner else owner + name


def listed() -> list[tuple[list[str], set[str], list[str]]]:
    """The rows of the table: names, files, tests."""
    page = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    section = page.partition(HEADING)[2].partition("\n## ")[0]
    rows = ROW.findall(section)
    quoted = [[QUOTED.findall(cell) for cell in row] for row in rows]
    return [(list(full_names(names)), set(files), tests) for names, files, tests in quoted]


def test_the_table_lists_exactly_what_product_code_uses() -> None:
    assert {name: files for names, files, _ in listed() for name in names} == used()


@pytest.mark.parametrize("test", sorted({test for _, _, tests in listed() for test in tests}))
def test_each_test_in_the_table_exists(test: str) -> None:
    file, _, name = test.partition("::")
    assert re.search(rf"^ *(async )?def {name or 'test_'}", (ROOT / file).read_text("utf-8"), re.MULTILINE), test


@pytest.mark.parametrize(
    ("source", "internals"),
    [
        ("from redis._parsers import BaseParser", {"redis._parsers.BaseParser"}),
        ("import arq\n\nclass Mine(arq.Worker):\n    def f(self) -> None:\n        self._pool = None", {"_pool"}),
        (
            "import arq\n\nclass Mine(arq.Worker):\n    async def _poll_iteration(self) -> None: ...",
            {"_poll_iteration"},
        ),
        ("import arq\n\narq.Worker._add_signal_handler", {"_add_signal_handler"}),
        ("import os\n\nos._exit(1)", set()),
    ],
)
def test_internals_are_found(monkeypatch: pytest.MonkeyPatch, source: str, internals: set[str]) -> None:
    monkeypatch.setattr(sys.modules[__name__], "TREES", {"gateway/new.py": ast.parse(source)})
    assert {name.removeprefix("arq.worker.Worker.") for name in used()} == internals
