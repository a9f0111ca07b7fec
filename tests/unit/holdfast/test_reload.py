"""Which folders `holdfast dev` watches, and when it takes their files for changed."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from watchfiles import awatch

from holdfast.cli import reload
from holdfast.cli.reload import Sources


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("")


def watched(folder: Path, *modules: str) -> set[str]:
    return {str(found.relative_to(folder)) for found in Sources(modules, folder).folders}


def test_a_module_is_what_stands_beside_it_and_a_package_all_that_is_in_it(tmp_path: Path) -> None:
    write(tmp_path, "one.py", "note.txt", "package/__init__.py", "package/deep/er.py", "folder/loose.py")
    write(tmp_path, "named/a.py", "named/b/c.py")
    own = {".", "package", "package/deep"}
    assert watched(tmp_path, "one") == own
    assert watched(tmp_path, "package.deep") == {"package", "package/deep"}
    assert watched(tmp_path, "named.a", "one") == own | {"named", "named/b"}


def test_a_module_that_is_nowhere_has_no_files(tmp_path: Path) -> None:
    assert not watched(tmp_path, "no_such_module")
    assert "no_such_module" not in sys.modules


async def change_after(folder: Path, change: Callable[[], object]) -> str:
    """The name of the file that is found changed once a task has begun to watch."""
    changed = asyncio.create_task(Sources(["one"], folder).changed())
    await asyncio.sleep(0)
    change()
    return (await changed).name


async def test_a_file_that_is_edited_made_or_removed_is_a_change(tmp_path: Path) -> None:
    write(tmp_path, "one.py")
    assert await change_after(tmp_path, lambda: (tmp_path / "one.py").write_text("1")) == "one.py"
    assert await change_after(tmp_path, lambda: write(tmp_path, "two.py")) == "two.py"
    assert await change_after(tmp_path, (tmp_path / "two.py").unlink) == "two.py"
    write(tmp_path, "saved.tmp")
    assert await change_after(tmp_path, lambda: (tmp_path / "saved.tmp").replace(tmp_path / "one.py")) == "one.py"


async def test_only_python_files_of_these_folders_are_looked_at(tmp_path: Path) -> None:
    write(tmp_path, "one.py", "loose/two.py")

    def elsewhere() -> None:
        write(tmp_path, "note.txt", "__pycache__/one.pyc", "loose/two.py")
        (tmp_path / "one.py").touch()

    assert await change_after(tmp_path, elsewhere) == "one.py"


async def test_files_that_are_all_replaced_are_a_change_once_they_are_there_again(tmp_path: Path) -> None:
    write(tmp_path, "one/agents.py")
    changed = asyncio.create_task(Sources(["one.agents"], tmp_path).changed())
    await asyncio.sleep(0)
    shutil.rmtree(tmp_path / "one")
    await asyncio.sleep(0.3)
    assert not changed.done()
    write(tmp_path, "one/agents.py")
    assert (await changed).name == "agents.py"


async def test_a_file_in_a_new_folder_is_a_change(tmp_path: Path) -> None:
    write(tmp_path, "one/agents.py")
    changed = asyncio.create_task(Sources(["one.agents"], tmp_path).changed())
    await asyncio.sleep(0)
    (tmp_path / "one" / "tools").mkdir()
    await asyncio.sleep(0.3)
    assert not changed.done()
    write(tmp_path, "one/tools/search.py")
    async with asyncio.timeout(10):
        assert (await changed).name == "search.py"


@pytest.mark.parametrize("error", [OSError("OS file watch limit reached"), RuntimeError("Too many open files")])
async def test_files_are_polled_where_the_system_watches_no_more_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def limited(*paths: Path, force_polling: bool | None = None, **options: Any) -> AsyncIterator[Any]:
        if not force_polling:
            raise error
        return awatch(*paths, force_polling=True, **options)

    monkeypatch.setattr(reload, "awatch", limited)
    write(tmp_path, "one.py")
    os.utime(tmp_path / "one.py", (0, 0))  # times are compared in seconds
    async with asyncio.timeout(10):
        assert await change_after(tmp_path, lambda: (tmp_path / "one.py").write_text("1")) == "one.py"
