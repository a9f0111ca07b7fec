"""Restart the worker of `holdfast dev` when the files of the user's agents change."""

from __future__ import annotations

import asyncio
import importlib.util
import os
from collections.abc import Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from watchfiles import awatch

from holdfast.cli.children import Child, Output, Plan

# Changes of files that follow each other within this time are one change.
SETTLE_MS = 100
LOOK_SECONDS = 0.3
# How often folders are searched for new ones, in which no file is watched yet.
NEW_FOLDERS_MS = 1000
# The exit code of a worker with unusable settings, which include the user's agents.
CANNOT_START = 2


class Sources:
    """The Python files of these modules: of a package all files, of a module all files beside it. `folder` is searched
    first."""

    def __init__(self, modules: Iterable[str], folder: Path) -> None:
        self._tops = {name.partition(".")[0] for name in modules}
        self._folder = folder

    @property
    def folders(self) -> set[Path]:
        """The folders of the files."""
        return {path.parent for path in self._files()}

    def _files(self) -> Iterator[Path]:
        for top in self._tops:
            yield from _files(top, self._folder)

    async def changed(self) -> Path:
        """Wait until a file is written, created or deleted, also in a new folder. Watches from the first step of its
        task on."""
        try:
            return await self._changed()
        except (OSError, RuntimeError):  # a limit of inotify: of watches, or of instances
            return await self._changed(force_polling=True)

    async def _changed(self, *, force_polling: bool | None = None) -> Path:
        watched = self.folders
        # Not recursive: a clone with its .venv takes 0.7 s to watch, in which nothing else runs.
        async for changes in awatch(
            *watched,
            watch_filter=None,
            step=SETTLE_MS,
            recursive=False,
            rust_timeout=NEW_FOLDERS_MS,
            yield_on_timeout=True,
            force_polling=force_polling,
        ):
            changed = [Path(path) for _, path in changes if path.endswith(".py")]
            changed += [path for path in self._files() if path.parent not in watched]
            if changed:
                while not self.folders:  # noqa: ASYNC110 - all are being replaced; a deleted folder sends no changes
                    await asyncio.sleep(LOOK_SECONDS)
                return min(changed)
        raise AssertionError


def _files(top: str, folder: Path) -> Iterator[Path]:
    spec = _spec(top, folder)
    if spec is None:
        return
    if spec.submodule_search_locations:
        for place in spec.submodule_search_locations:
            yield from _below(Path(place))
    elif spec.origin:
        beside = Path(spec.origin).parent
        yield from beside.glob("*.py")
        for package in beside.glob("*/__init__.py"):
            yield from _below(package.parent)


def _below(folder: Path) -> Iterator[Path]:
    """Iterate over the Python files of a folder tree. Unlike `Path.rglob`, it takes folders that vanish meanwhile."""
    for place, _, names in os.walk(folder):
        yield from (Path(place, name) for name in names if name.endswith(".py"))


def _spec(top: str, folder: Path) -> ModuleSpec | None:
    try:
        return PathFinder.find_spec(top, [str(folder)]) or importlib.util.find_spec(top)
    except ValueError:  # a module of this process without a spec
        return None


class ReloadedChild(Child):
    """A child that is restarted when `sources` change. After a failed start it waits for such a change.

    `patience_s`: the seconds that it may take to stop."""

    _changed: asyncio.Task[Path]

    def __init__(self, plan: Plan, output: Output, sources: Sources, patience_s: float) -> None:
        super().__init__(plan, output)
        self._sources = sources
        self._patience_s = patience_s

    @property
    def waits(self) -> bool:
        """Whether it exited because the sources are unusable."""
        return self.exit_code == CANNOT_START and bool(self._sources.folders)

    async def start(self) -> None:
        self._changed = asyncio.create_task(self._sources.changed())
        await asyncio.sleep(0)  # the files are watched before the child reads them
        await super().start()

    async def until_due(self) -> None:
        ended = asyncio.create_task(self.wait())
        try:
            await asyncio.wait({self._changed, ended}, return_when=asyncio.FIRST_COMPLETED)
            if self.waits and not self._changed.done():
                self.say_of_it("will be started when its files change")
                await self._changed
            if self._changed.done():
                self.say_of_it(f"is restarted: {self._changed.result().name} has changed")
                await self.stop(self._patience_s)
            else:
                await super().until_due()
        finally:
            self._changed.cancel()
            ended.cancel()
