"""Restart the worker of `holdfast dev` when the files of the user's agents change."""

from __future__ import annotations

import asyncio
import importlib.util
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from holdfast.cli.children import Child, Plan

# Polls the files: there are few, and mounted folders may send no change notifications.
LOOK_SECONDS = 0.3
# The exit code of a worker with unusable settings, which include the user's agents.
CANNOT_START = 2

Snapshot = dict[Path, int]


class Sources:
    """The Python files of these modules: of a package all files, of a module all files beside it. `folder` is searched
    first."""

    def __init__(self, modules: Iterable[str], folder: Path) -> None:
        self._tops = {name.partition(".")[0] for name in modules}
        self._folder = folder
        self._seen: Snapshot = {}

    def mark(self) -> None:
        """Record the current state of the files."""
        self._seen = self.look()

    @property
    def exist(self) -> bool:
        return bool(self.look())

    async def changed(self) -> Path:
        """Wait until a file differs from the recorded state, and until all files are completely written."""
        before, now = self._seen, self.look()
        while now in (self._seen, {}) or now != before:
            await asyncio.sleep(LOOK_SECONDS)
            before, now = now, self.look()
        return min(path for path, _ in now.items() ^ self._seen.items())

    def look(self) -> Snapshot:
        """Return the modification time of each file in ns."""
        found: Snapshot = {}
        for path in {path for top in self._tops for path in _files(top, self._folder)}:
            try:
                found[path] = path.stat().st_mtime_ns
            except OSError:  # deleted meanwhile
                continue
        return found


def _files(top: str, folder: Path) -> Iterator[Path]:
    spec = _spec(top, folder)
    if spec is None:
        return
    if spec.submodule_search_locations:
        for place in spec.submodule_search_locations:
            yield from Path(place).rglob("*.py")
    elif spec.origin:
        beside = Path(spec.origin).parent
        yield from beside.glob("*.py")
        for package in beside.glob("*/__init__.py"):
            yield from package.parent.rglob("*.py")


def _spec(top: str, folder: Path) -> ModuleSpec | None:
    try:
        return PathFinder.find_spec(top, [str(folder)]) or importlib.util.find_spec(top)
    except ValueError:  # a module of this process without a spec
        return None


class ReloadedChild(Child):
    """A child that is restarted when `sources` change. After a failed start it waits for such a change.

    `patience_s`: the seconds that it may take to stop."""

    def __init__(self, plan: Plan, say: Callable[[str, str], None], sources: Sources, patience_s: float) -> None:
        super().__init__(plan, say)
        self._sources = sources
        self._patience_s = patience_s

    @property
    def waits(self) -> bool:
        """Whether it exited because the sources are unusable."""
        return self.exit_code == CANNOT_START and self._sources.exist

    async def start(self) -> None:
        self._sources.mark()
        await super().start()

    async def until_due(self) -> None:
        changed = asyncio.create_task(self._sources.changed())
        ended = asyncio.create_task(self.wait())
        try:
            await asyncio.wait({changed, ended}, return_when=asyncio.FIRST_COMPLETED)
            if self.waits and not changed.done():
                self.say_of_it("waits until that is mended")
                await changed
            if changed.done():
                self.say_of_it(f"starts again: {changed.result().name} has changed")
                await self.stop(self._patience_s)
            else:
                await super().until_due()
        finally:
            changed.cancel()
            ended.cancel()
