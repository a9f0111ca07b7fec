"""Finds secrets in files: by the formats of well-known keys, and by names of variables with random values.

`python -m tests.support.secret_scan` scans the files that git tracks. A line that only looks like a secret says so with
`not a secret` in a comment."""

from __future__ import annotations

import math
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
EXCUSE = b"not a secret"
MAX_BYTES = 4 * 1024 * 1024
MIN_BITS = 3.6  # of entropy per character: words joined by hyphens have about 3.3, 24 random characters about 4.3

# What all files are searched for first, since it is fast: no pattern below matches a file without one of these.
_HINTS = re.compile(
    rb"PRIVATE KEY|AKIA|ASIA|gh[pousr]_|github_pat_|sk-|xox|AIza|npm_|pypi-|glpat-|hft?_|eyJ|://|secret|token|passw|api_?key",
    re.IGNORECASE,
)
_FORMATS = {
    "private key": rb"-----BEGIN (?:[A-Z]+ )?PRIVATE KEY-----\s*[A-Za-z0-9+/\\]{20}",
    "access key of AWS": rb"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "token of GitHub": rb"\b(?:gh[pousr]_[A-Za-z0-9]{36}|github_pat_[A-Za-z0-9_]{50})",
    "token of GitLab": rb"\bglpat-[A-Za-z0-9_-]{20}",
    "token of Slack": rb"\bxox[abeoprs]-[A-Za-z0-9-]{20}",
    "key of Google": rb"\bAIza[A-Za-z0-9_-]{35}",
    "token of npm": rb"\bnpm_[A-Za-z0-9]{36}",
    "token of PyPI": rb"\bpypi-AgEI[A-Za-z0-9_-]{40}",
    "token of Hugging Face": rb"\bhf_[A-Za-z0-9]{30}",
}
# The first group must be random: the format alone also matches placeholders.
_RANDOM = {
    "key of a model provider": rb"\bsk-((?:[a-z0-9]+-)*[A-Za-z0-9_]{20,})",
    "key or ticket of Holdfast": rb"\bhft?_[A-Za-z0-9]+[_.]([A-Za-z0-9_-]{30,})",
    "JWT": rb"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.([A-Za-z0-9_-]{20,})",
    "password in a URL": rb"\b[a-z][a-z0-9+.-]*://[^\s/:@\"'`<>{}$]*:([^\s/:@\"'`<>{}$]{12,})@",
    "random value": rb"(?:secret|token|passw(?:or)?d|api_?key)[a-z_]*[\"']?\s*[:=]\s*[\"']([A-Za-z0-9+/_=-]{20,})[\"']",
}
_PATTERNS = [
    *((name, re.compile(pattern)) for name, pattern in _FORMATS.items()),
    *((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in _RANDOM.items()),
]


class Finding(NamedTuple):
    """A place that looks like a secret, without the secret."""

    path: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: looks like a secret ({self.what})"


def scan(path: str, text: bytes) -> Iterator[Finding]:
    """Yield the findings in one file."""
    if _HINTS.search(text) is None or b"\0" in text[:8192]:
        return
    for what, pattern in _PATTERNS:
        for match in pattern.finditer(text):
            if match.lastindex is not None and not _is_random(match[1]):
                continue
            begin, end = text.rfind(b"\n", 0, match.start()) + 1, text.find(b"\n", match.end())
            if EXCUSE not in text[begin : end if end >= 0 else None]:
                yield Finding(path, text.count(b"\n", 0, begin) + 1, what)


def scan_tracked(root: Path = ROOT) -> list[Finding]:
    """Scan the files that git tracks, as they are in the work tree."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=root, capture_output=True, check=True).stdout
    findings: list[Finding] = []
    for name in filter(None, listed.decode().split("\0")):
        path = root / name
        if path.is_file() and not path.is_symlink() and path.stat().st_size <= MAX_BYTES:
            findings += scan(name, path.read_bytes())
    return findings


def _is_random(value: bytes) -> bool:
    if b"0123456789" in value:
        return False
    counts = Counter(value)
    bits = -sum(n / len(value) * math.log2(n / len(value)) for n in counts.values())
    return bits >= MIN_BITS and any(chr(c).isdigit() for c in value) and any(chr(c).isalpha() for c in value)


if __name__ == "__main__":
    found = scan_tracked()
    sys.stderr.writelines(f"{finding}\n" for finding in found)
    sys.exit(bool(found))
