"""What scripts/audit reports: secrets in tracked files, licences, and known vulnerabilities."""

from __future__ import annotations

import base64
import random
import subprocess
from pathlib import Path

import pytest

from tests.support import audit
from tests.support.audit import LOCK, is_permissive, licence_problems, locked, main, vulnerabilities
from tests.support.secret_scan import scan, scan_tracked

RANDOM = base64.b64encode(random.Random(1).randbytes(45)).decode().replace("+", "a").replace("/", "b")
PLANTED = [
    f"-----BEGIN RSA {'PRIVATE'} KEY-----\n{RANDOM}",
    "AKIA" + "QWERTYUIOP234567",
    f"ghp_{RANDOM[:36]}",
    f"OPENAI_API_KEY=sk-proj-{RANDOM[:40]}",
    f"hf_0a1b2c3d4e5f_{RANDOM[:43]}",
    f"Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhIn0.{RANDOM[:43]}",
    f"redis://holdfast:{RANDOM[:20]}@queue:6379",
    f'webhook_secret = "{RANDOM[:32]}"',
    f"password: '{RANDOM[:32]}'",
]
HARMLESS = [
    "-----BEGIN PUBLIC KEY-----",
    "api_key = sk-this-is-only-a-placeholder-for-yours",
    "redis://holdfast:password@queue:6379",
    'secret = "0123456789abcdef0123456789abcdef"',
    'token = "the-token-of-the-first-caller"',
    f'secret = "{RANDOM[:32]}"  # not a secret',
]


@pytest.mark.parametrize("text", PLANTED)
def test_a_planted_secret_is_found_and_not_repeated(text: str) -> None:
    [finding] = scan("a.py", f"first = 1\n{text}\n".encode())
    assert str(finding).startswith("a.py:2: looks like a secret")
    assert RANDOM[:16] not in str(finding)


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_no_secret_is_not_found(text: str) -> None:
    assert list(scan("a.py", text.encode())) == []


def test_the_scan_covers_what_git_tracks(tmp_path: Path) -> None:
    (tmp_path / "tracked.env").write_text(PLANTED[2])
    (tmp_path / "other.env").write_text(PLANTED[2])
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True)
    subprocess.run(["git", "add", "tracked.env"], cwd=tmp_path, check=True)
    assert [finding.path for finding in scan_tracked(tmp_path)] == ["tracked.env"]


@pytest.mark.parametrize("licence", ["MIT", "MPL-2.0 AND (Apache-2.0 OR MIT)", "BSD License", "GPL-3.0-only OR MIT"])
def test_a_permissive_licence_is_allowed(licence: str) -> None:
    assert is_permissive(licence)


@pytest.mark.parametrize("licence", ["GPL-3.0-only", "AGPL-3.0", "MIT AND GPL-2.0-only", "BUSL-1.1", "none"])
def test_another_licence_is_not_allowed(licence: str) -> None:
    assert not is_permissive(licence)


def test_every_locked_package_has_an_allowed_licence() -> None:
    text = LOCK.read_text("utf-8")
    assert len(list(locked(text))) > 100
    assert list(licence_problems(text)) == []


def test_a_locked_package_with_another_licence_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "EXCEPTIONS", {})
    [problem] = licence_problems("pybars4==0.9.13 \\\n    --hash=sha256:0\n")
    assert problem.startswith("pybars4 has a licence that is not on the list")


def test_a_vulnerability_is_reported_with_the_versions_without_it() -> None:
    vulnerable = {"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["2"]}]}
    report = {
        "dependencies": [vulnerable, {"name": "b", "version": "1", "vulns": []}, {"name": "c", "skip_reason": "x"}]
    }
    assert list(vulnerabilities(report)) == ["a 1: CVE-1, fixed in 2"]


def test_a_service_that_cannot_be_reached_is_one_line_and_no_failure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(audit, "STAMP", tmp_path / "audited")
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    lock = tmp_path / "lock.txt"
    lock.write_text(f"orjson==3.11.0 \\\n    --hash=sha256:{'0' * 64}\n")
    monkeypatch.setattr(audit, "LOCK", lock)
    assert main() == 0
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert main() == 0
    assert capsys.readouterr().err == "", "looked up twice a day"


def test_a_known_vulnerability_fails_the_audit_until_it_is_gone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    vulnerable = {"name": "orjson", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": []}]}
    monkeypatch.setattr(audit, "STAMP", tmp_path / "audited")
    monkeypatch.setattr(audit, "report_of", lambda _: {"dependencies": [vulnerable]})
    assert (main(), main()) == (1, 1)
    assert "audit: orjson 1: CVE-1, fixed in no version" in capsys.readouterr().err
