"""Releases of the project as programs: this checkout, and an earlier commit in a folder and environment of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.support.process import ROOT

CACHE = ROOT / ".cache" / "upgrade"
UV = Path(sys.executable).parent / "uv"
PREVIOUS = "a866859"  # until there is a tag: the commit before authentication, tenants and encryption


class Release(NamedTuple):
    """A tree with an interpreter that imports the packages of this tree."""

    name: str
    tree: Path
    python: Path

    def command(self, program: str) -> list[str]:
        """Return the command of `gateway` or `worker`."""
        return [str(self.python), "-m", f"holdfast.{program}"]


def this_release() -> Release:
    return Release("this release", ROOT, Path(sys.executable))


def previous_commit() -> str:
    """Return the newest release tag before this commit; without one, PREVIOUS."""
    command = ["git", "describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return found.stdout.strip() or PREVIOUS


def check_out(revision: str) -> Release:
    """Put the files of a commit into a folder of the cache, with an environment of what that commit has locked.

    Both are kept for the next time. Raises CalledProcessError if git does not know the commit."""
    commit = _output("git", "rev-parse", "--verify", f"{revision}^{{commit}}").decode().strip()
    tree = CACHE / commit[:12]
    release = Release(f"release {revision}", tree, tree / ".venv" / "bin" / "python")
    done = tree / ".venv" / ".installed"
    if not done.exists():
        tree.mkdir(parents=True, exist_ok=True)
        subprocess.run(["tar", "-x", "-C", tree], input=_output("git", "archive", commit), check=True)
        _install(release)
        done.touch()
    return release


def _install(release: Release) -> None:
    tree, python = release.tree, release.python
    _uv("venv", "--clear", "--python", sys.executable, str(tree / ".venv"))
    _uv("pip", "install", "--python", str(python), "--require-hashes", "--requirement", str(tree / "requirements.txt"))
    _uv("pip", "install", "--python", str(python), "--no-deps", "--no-build-isolation", "--editable", str(tree))


def _uv(*arguments: str) -> None:
    subprocess.run([UV, *arguments, "--quiet"], check=True)


def _output(*command: str) -> bytes:
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True).stdout
