"""Which files `holdfast dev` looks at, and when it takes them for changed."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from holdfast.cli import reload
from holdfast.cli.reload import Sources


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "LOOK_SECONDS", 0.001)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")


def names(sources: Sources, folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in sources.look()}


def test_a_module_is_what_stands_beside_it_and_a_package_all_that_is_in_it(tmp_path: Path) -> None:
    write(tmp_path, "one.py", "beside.py", "note.txt", "package/__init__.py", "package/deep/er.py", "folder/loose.py")
    write(tmp_path, "named/a.py", "named/b/c.py")
    own = {"one.py", "beside.py", "package/__init__.py", "package/deep/er.py"}
    assert names(Sources(["one"], tmp_path), tmp_path) == own
    assert names(Sources(["package.deep"], tmp_path), tmp_path) == {"package/__init__.py", "package/deep/er.py"}
    assert names(Sources(["named.a", "one"], tmp_path), tmp_path) == own | {"named/a.py", "named/b/c.py"}


def test_a_module_that_is_nowhere_has_no_files(tmp_path: Path) -> None:
    assert not Sources(["no_such_module"], tmp_path).exist
    assert "no_such_module" not in sys.modules


async def test_a_file_that_is_edited_made_or_removed_is_a_change(tmp_path: Path) -> None:
    write(tmp_path, "one.py")
    sources = Sources(["one"], tmp_path)
    sources.mark()
    changed = asyncio.create_task(sources.changed())
    (tmp_path / "one.py").write_text("1")
    assert (await changed).name == "one.py"
    sources.mark()
    write(tmp_path, "two.py")
    assert (await sources.changed()).name == "two.py"
    sources.mark()
    (tmp_path / "two.py").unlink()
    assert (await sources.changed()).name == "two.py"


async def test_files_are_changed_only_once_nobody_writes_them_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "one.py"
    looks = [{path: stamp} for stamp in (1, 1, 2, 3, 4, 4)]
    sources = Sources(["one"], tmp_path)
    monkeypatch.setattr(sources, "look", lambda: looks.pop(0))
    sources.mark()
    await sources.changed()
    assert looks == []
