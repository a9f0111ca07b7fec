"""The C programs: compiled on demand and cached under .cache/bench until their source changes."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from pathlib import Path

from bench.processes import CACHE, ROOT


class CompilerMissing(Exception):
    """No C compiler, so no load generator."""


def program(source: str) -> str:
    """The path of the program made from this source under bench/. Raises CompilerMissing."""
    path = ROOT / "bench" / source
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:12]
    binary = CACHE / f"{path.stem}-{digest}"
    if not binary.exists():
        _compile(path, binary)
    return str(binary)


def _compile(source: Path, binary: Path) -> None:
    compiler = shutil.which("gcc") or shutil.which("cc") or shutil.which("clang")
    if compiler is None:
        raise CompilerMissing("the load generator needs a C compiler (Debian: apt-get install gcc libc6-dev)")
    binary.parent.mkdir(parents=True, exist_ok=True)
    subprocess.run([compiler, "-O2", "-Wall", "-Wextra", "-o", str(binary), str(source)], check=True)
