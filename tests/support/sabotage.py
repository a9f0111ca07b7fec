"""Removes one guard after the other in a copy of the tree and runs the tests that are to redden."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from tests.support.layout import lay_out

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 90
AT_A_TIME = 2  # as scripts/test runs its tests


def guards(word: str = "") -> list[dict[str, Any]]:
    """The guards of the list whose name holds the word."""
    with (ROOT / "tests" / "sabotage.toml").open("rb") as file:
        return [guard for guard in tomllib.load(file)["guard"] if word in guard["name"]]


def copy_tree(to: Path) -> None:
    """Copy the files of the checkout. The packages are laid out as installed, so that the copy's are imported."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)
    lay_out(to)


def without(guard: dict[str, Any], text: str) -> str:
    """The text of the guard's file without the guard. Raises ValueError if it is not there."""
    old: str = guard["old"]
    place = text.index(old, text.index(guard.get("after", "")))
    return f"{text[:place]}{guard['new']}{text[place + len(old) :]}"


def remains_green(tree: Path, test: str) -> bool:
    command = [sys.executable, "-m", "pytest", "-qx", "-p", "no:cacheprovider", "--timeout=40", test]
    try:
        run = subprocess.run(command, cwd=tree, check=False, capture_output=True, timeout=TIMEOUT_S)
    except subprocess.TimeoutExpired:
        return False  # waiting for ever is red, too
    return run.returncode != 1


def sabotage(tree: Path, guard: dict[str, Any]) -> list[str]:
    """Remove the guard, run its tests, put it back. Answers the tests that did not redden."""
    path = tree / guard["file"]
    sound = path.read_text("utf-8")
    path.write_text(without(guard, sound), "utf-8")
    try:
        return [test for test in guard["tests"] if remains_green(tree, test)]
    finally:
        path.write_text(sound, "utf-8")


def main() -> int:
    chosen = guards(*sys.argv[1:2])
    failures = 0
    with tempfile.TemporaryDirectory(prefix="sabotage-") as folder, ThreadPoolExecutor(AT_A_TIME) as pool:
        for guard, green in zip(chosen, pool.map(partial(in_a_tree, free_trees(Path(folder))), chosen), strict=True):
            failures += bool(green)
            lines = [f"{'GREEN' if green else 'red  '}  {guard['name']}", *(f"       {test}" for test in green)]
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()
    sys.stdout.write(f"{len(chosen) - failures} passed, {failures} failed\n")
    return 1 if failures or not chosen else 0


def free_trees(folder: Path) -> SimpleQueue[Path]:
    trees: SimpleQueue[Path] = SimpleQueue()
    for number in range(AT_A_TIME):
        copy_tree(folder / str(number))
        trees.put(folder / str(number))
    return trees


def in_a_tree(trees: SimpleQueue[Path], guard: dict[str, Any]) -> list[str]:
    tree = trees.get()
    try:
        return sabotage(tree, guard)
    finally:
        trees.put(tree)


if __name__ == "__main__":
    sys.exit(main())
