"""Checks what the project depends on: licences, and known vulnerabilities where a service for them can be reached.

Run as `python -m tests.support.audit`. Vulnerabilities are looked up once a day, and always when the lock file has
changed. In a network without the service, such as one with a package index alone, a line says so; it is no failure."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
LOCK = ROOT / "requirements-dev.txt"
STAMP = ROOT / ".cache" / "audited"
DAY_S = 24 * 3600
TIMEOUT_S = 60

# Licences that let a company use and change a library, and keep its own code to itself. The Mozilla Public License
# covers only its own files, which nobody here changes.
PERMISSIVE = re.compile(
    r"0BSD|Apache|BSD|CC0|CNRI-Python|ISC|MIT|MPL-2\.0|Mozilla Public License 2\.0"
    r"|PSF|Python Software Foundation|Unlicense|Zlib"
)
# Of packages that only adapters of frameworks need, and that no part of Holdfast imports itself.
EXCEPTIONS = {
    "pybars4": "LGPL; semantic-kernel imports it, unchanged",
}


def locked(text: str) -> Iterator[Requirement]:
    """Yield the requirements of a lock file that hold on this machine."""
    for line in text.splitlines():
        if line and not line.startswith((" ", "#", "-")):
            requirement = Requirement(line.rstrip(" \\"))
            if requirement.marker is None or requirement.marker.evaluate():
                yield requirement


def licence_of(package: str) -> str:
    """Return the licence that an installed package declares: as SPDX expression, by classifiers, or in free text."""
    fields = metadata(package)
    expressions = fields.get_all("License-Expression") or ()
    classifiers = [one for one in fields.get_all("Classifier") or () if one.startswith("License ::")]
    named = [one.rpartition(" :: ")[2] for one in classifiers if not one.endswith(("OSI Approved", "DFSG approved"))]
    return (
        "; ".join(expressions) or "; ".join(named) or "; ".join(fields.get_all("License") or ["none"]).splitlines()[0]
    )


def is_permissive(licence: str) -> bool:
    """Return whether each part of a licence is on the list; of alternatives one is enough."""
    parts = re.split(r"\bAND\b|;|,", licence)
    return all(any(PERMISSIVE.search(choice) for choice in re.split(r"\bOR\b", part)) for part in parts)


def licence_problems(text: str) -> Iterator[str]:
    """Yield a line for each locked package whose licence is not on the list."""
    for requirement in locked(text):
        try:
            licence = licence_of(requirement.name)
        except PackageNotFoundError:
            yield f"{requirement.name} is locked and not installed: run scripts/venv requirements-dev.txt"
            continue
        if not is_permissive(licence) and requirement.name not in EXCEPTIONS:
            yield f"{requirement.name} has a licence that is not on the list in tests/support/audit.py: {licence}"


def vulnerabilities(report: dict[str, Any]) -> Iterator[str]:
    """Yield a line for each vulnerability in a report of pip-audit."""
    for package in report["dependencies"]:
        for one in package.get("vulns", ()):
            fixed = ", ".join(one["fix_versions"]) or "no version"
            yield f"{package['name']} {package['version']}: {one['id']}, fixed in {fixed}"


def report_of(lock: Path) -> dict[str, Any] | None:
    """Return the report of pip-audit about a lock file, or None if its service cannot be reached."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--progress-spinner=off",
        "--format=json",
        "--vulnerability-service=osv",
    ]
    command += ["--disable-pip", "--require-hashes", "--timeout=5", f"--requirement={lock}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
        report: dict[str, Any] = json.loads(done.stdout)
    except (subprocess.TimeoutExpired, json.JSONDecodeError):
        return None
    return report


def _audited(lock: Path) -> Iterator[str]:
    """Yield a line for each known vulnerability, unless none was found today."""
    mark = hashlib.sha256(lock.read_bytes()).hexdigest()
    if STAMP.is_file() and STAMP.read_text() == mark and time.time() - STAMP.stat().st_mtime < DAY_S:
        return
    report = report_of(lock)
    if report is None:
        sys.stderr.write("audit: known vulnerabilities were not looked up: no service for them can be reached\n")
        found = []
    else:
        found = list(vulnerabilities(report))
    yield from found
    if not found:
        STAMP.parent.mkdir(exist_ok=True)
        STAMP.write_text(mark)


def main() -> int:
    problems = [*licence_problems(LOCK.read_text("utf-8")), *_audited(LOCK)]
    sys.stderr.writelines(f"audit: {problem}\n" for problem in problems)
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
