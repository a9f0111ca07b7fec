"""Removes one guard after the other in a copy of the tree and runs the tests that are to redden."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
TIMEOUT_S = 90


def guards(word: str = "") -> list[dict[str, Any]]:
    """The guards of the list whose name holds the word."""
    with (ROOT / "tests" / "sabotage.toml").open("rb") as file:
        return [guard for guard in tomllib.load(file)["guard"] if word in guard["name"]]


def copy_tree(to: Path) -> None:
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split("\0")  # fmt: skip
    for name in filter(None, names):
        if (ROOT / name).is_file():
            (to / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, to / name)


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
    if sound.count(guard["old"]) != 1:
        return [f"the guard does not stand once in {guard['file']}"]
    path.write_text(sound.replace(guard["old"], guard["new"]), "utf-8")
    try:
        return [test for test in guard["tests"] if remains_green(tree, test)]
    finally:
        path.write_text(sound, "utf-8")


def main() -> int:
    chosen = guards(*sys.argv[1:2])
    failures = 0
    with tempfile.TemporaryDirectory(prefix="sabotage-") as folder:
        tree = Path(folder)
        copy_tree(tree)
        for guard in chosen:
            green = sabotage(tree, guard)
            failures += bool(green)
            lines = [f"{'GREEN' if green else 'red  '}  {guard['name']}", *(f"       {test}" for test in green)]
            sys.stdout.write("\n".join(lines) + "\n")
    sys.stdout.write(f"{len(chosen) - failures} passed, {failures} failed\n")
    return 1 if failures or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
