"""Run Autobahn's suite against the echo server: `… PYTHON2 FOLDER`, where FOLDER has the package autobahntestsuite.

The suite needs Python 2.7. Exits with 1 if a case fails."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from socket import create_connection

from holdfast.cli.tether import tethered
from tests.support.ports import free_port

GROUPS = [f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 9, 10)]  # 12 and 13 test compression
PASSED = {"OK", "NON-STRICT", "INFORMATIONAL"}
RUN = "import site, sys; site.addsitedir(sys.argv.pop(1)); from autobahntestsuite.wstest import run; run()"


def until_listening(port: int) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            create_connection(("127.0.0.1", port)).close()
        except OSError:
            assert time.monotonic() < deadline, "the echo server does not start"
            time.sleep(0.05)
        else:
            return


def run_suite(python: str, folder: Path) -> dict[str, dict[str, str]]:
    """The result of each case, by its number."""
    port, reports, plan = free_port(), folder / "reports", folder / "plan.json"
    server = {"agent": "echo", "url": f"ws://127.0.0.1:{port}"}
    plan.write_text(json.dumps({"outdir": str(reports), "servers": [server], "cases": GROUPS, "exclude-cases": []}))
    command, descriptors = tethered([sys.executable, "-m", "tests.support.websocket_echo", str(port)])
    echo = subprocess.Popen(command, pass_fds=descriptors)
    try:
        until_listening(port)
        options = ["-m", "fuzzingclient", "-s", str(plan)]
        subprocess.run([python, "-c", RUN, str(folder / "site"), *options], check=True, stdout=subprocess.DEVNULL)
    finally:
        echo.kill()
        echo.wait()
    with closing((reports / "index.json").open()) as index:
        found: dict[str, dict[str, str]] = json.load(index)["echo"]
    return found


def main() -> int:
    results = run_suite(sys.argv[1], Path(sys.argv[2]).resolve())
    for case, result in sorted(results.items(), key=lambda one: [int(part) for part in one[0].split(".")]):
        if result["behavior"] != "OK" or result["behaviorClose"] not in PASSED:
            sys.stdout.write(f"{case} {result['behavior']}, closed: {result['behaviorClose']}\n")
    counted = Counter(result["behavior"] for result in results.values())
    sys.stdout.write(f"{len(results)} cases: {dict(counted)}\n")
    kinds = {kind for result in results.values() for kind in (result["behavior"], result["behaviorClose"])}
    return 0 if kinds <= PASSED else 1


if __name__ == "__main__":
    os.environ.pop("PYTHONPATH", None)
    sys.exit(main())
