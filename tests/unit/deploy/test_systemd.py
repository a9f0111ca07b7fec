"""deploy/systemd, read as files: the units are valid, and their times and settings agree."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from holdfast.gateway.settings import GatewaySettings
from holdfast.worker.process.settings import WorkerSettings

ROOT = Path(__file__).resolve().parents[3]
MARGIN_S = 10
UNITS: dict[str, type[GatewaySettings | WorkerSettings]] = {"gateway": GatewaySettings, "worker": WorkerSettings}


def unit(name: str) -> str:
    return (ROOT / f"deploy/systemd/holdfast-{name}@.service").read_text("utf-8")


def settings_of(name: str) -> dict[str, str]:
    return dict(
        re.findall(r"(HOLDFAST_\w+)=(\S+)", "\n".join(re.findall(r"^Environment=(.*)$", unit(name), re.MULTILINE)))
    )


def value(name: str, key: str) -> str:
    [found] = re.findall(rf"^{key}=(.*)$", unit(name), re.MULTILINE)
    return str(found)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("name", UNITS)
def test_a_unit_is_valid_and_hardened(name: str, tmp_path: Path) -> None:
    path = tmp_path / f"holdfast-{name}@8000.service"
    path.write_text(unit(name).replace("/opt/holdfast/bin/holdfast", sys.executable), "utf-8")
    command = ["systemd-analyze", "verify", "--man=no", "--recursive-errors=no", str(path)]
    verified = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (verified.returncode, verified.stderr) == (0, "")
    command = ["systemd-analyze", "security", "--offline=true", "--threshold=20", str(path)]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("name", UNITS)
def test_its_settings_are_known(name: str) -> None:
    assert settings_of(name).keys() <= {f"HOLDFAST_{field}".upper() for field in UNITS[name].model_fields}
    assert value(name, "ExecStart") == f"/opt/holdfast/bin/holdfast {name}"


def test_a_process_is_killed_only_after_its_grace_time() -> None:
    grace = {
        "gateway": GatewaySettings.model_fields["gateway_grace_seconds"].default,
        "worker": int(settings_of("worker")["HOLDFAST_GRACE_SECONDS"]),
    }
    for name, seconds in grace.items():
        assert int(value(name, "TimeoutStopSec")) >= seconds + MARGIN_S


@pytest.mark.parametrize("name", UNITS)
def test_one_process_gets_the_signal_and_a_process_that_ends_is_started_again(name: str) -> None:
    assert (value(name, "KillMode"), value(name, "Restart")) == ("mixed", "always")


def test_the_gateway_may_raise_its_limit_of_open_files() -> None:
    assert "@resources" not in " ".join(re.findall(r"^SystemCallFilter=(.*)$", unit("gateway"), re.MULTILINE))
