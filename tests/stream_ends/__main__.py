"""How streams end behind proxies: starts the product, reads every dialect with curl and with the real clients, and
stops the gateway in the middle.

    scripts/stream-ends --write docs/dialects/stream-ends.md

Prints tables. Exits 1 when a stream looks finished while it is not, a finished one does not, or words are missing.
Needs curl with HTTP/2, openssl, and nginx; paths through an nginx that is not installed are left out. Takes about 8
minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import platform
import re
import subprocess
import sys
from pathlib import Path

from tests.stream_ends import report
from tests.stream_ends.applications import drained
from tests.stream_ends.report import place
from tests.stream_ends.stage import WAYS, Way, stage
from tests.stream_ends.wire import Seen, measure
from tests.support.node import FOLDER, NODE, chromium
from tests.support.proxies import CADDY, nginx_binary

PARTS = {"wire": report.wire, "clients": report.clients}
_PACKAGES = ("ai", "ai-v6", "@ai-sdk/workflow", "openai", "@ag-ui/client", "@tanstack/ai-client", "@copilotkit/core")


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="scripts/stream-ends", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", default="", metavar="WORDS", help="only the paths whose name has these words")
    parser.add_argument("--part", choices=PARTS, help="only the dialects, or only the clients")
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the tables into this document")
    chosen = parser.parse_args()
    wrong: list[str] = []
    for part in [chosen.part] if chosen.part else PARTS:
        measured: dict[str, Seen] = {}
        for way in WAYS:
            if chosen.only in way.name and (way.proxy != "nginx" or nginx_binary()):
                _say(f"{part}: {way.name}")
                measured[way.name] = asyncio.run(_measure(part, way))
        text = f"Measured with {', '.join(versions())}.\n\n{PARTS[part](measured)}"
        _say(text)
        wrong += [f"{name}: {line}" for name, seen in measured.items() for line in seen.wrong]
        if chosen.write:
            chosen.write.write_text(place(chosen.write.read_text(), part, text))
    _say("\n".join(wrong))
    return 1 if wrong else 0


async def _measure(part: str, way: Way) -> Seen:
    seen = Seen()
    async with stage(way) as running:
        if part == "wire":
            await measure(running, seen)
        else:
            await drained(running, seen, bool(way.proxy))
    return seen


def versions() -> list[str]:
    """Return the names and versions of the programs and clients."""
    lock = (FOLDER / "package-lock.json").read_text()
    packages = [
        _version(name, lock, rf'"node_modules/{re.escape(name)}": \{{[^}}]*?"version": "([^"]+)"') for name in _PACKAGES
    ]
    nginx = nginx_binary()
    return [
        _version("curl", _output("curl", "--version"), r"curl (\S+)"),
        *([_version("nginx", _output(nginx, "-v"), r"nginx/(\S+)")] if nginx else []),
        _version("Caddy", _output(str(CADDY), "version"), r"v(\S+)"),
        _version("Chromium", _output(chromium()["executablePath"], "--version", **chromium()["env"]), r"([\d.]+)"),
        _version("Node", _output(NODE, "--version"), r"v(\S+)"),
        f"Python {platform.python_version()}",
        *packages,
    ]


def _output(*command: str, **env: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env or None)
    return done.stdout + done.stderr


def _version(name: str, text: str, pattern: str) -> str:
    found = re.search(pattern, text)
    return f"{name} {found[1] if found else '(unknown version)'}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
