"""`scripts/venv`, where no Python can be found."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).parents[3] / "scripts" / "venv"


def test_without_a_python_the_message_names_each_that_was_looked_for(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("dirname", "cat", "cksum", "tr"):
        (programs / name).symlink_to(str(shutil.which(name)))
    copy = tmp_path / "scripts" / "venv"
    copy.parent.mkdir()
    shutil.copy(SCRIPT, copy)
    done = subprocess.run(
        ["/bin/sh", str(copy), "requirements-run.txt"],
        env={"PATH": str(programs)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    (names,) = re.findall(r"for name in (.*); do", SCRIPT.read_text())
    (told,) = re.findall(r"looked for (.*)\)", done.stderr)
    assert done.returncode != 0
    assert [name if name.startswith("python") else f"python{name}" for name in told.split(", ")] == names.split()
