"""The wheel, built from the checkout and used in an environment of its own by a project that has a `shared` package."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.process import ROOT, Processes, inherited_env

BUILT_FROM = {"clients", "gateway", "holdfast", "shared", "worker", "pyproject.toml", "README.md", "LICENSE"}
INSTALLER = [str(Path(sys.executable).parent / "uv"), "pip", "install", "--quiet"]

AGENT = """
from holdfast import AgentError, Run, agent
from shared import GREETING


@agent
async def greet(run: Run) -> None:
    if not run.input:
        raise AgentError("nobody", "Say who you are")
    await run.text(f"{GREETING} {run.input}")
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of the checkout, built from a copy so that nothing is left behind in it."""
    folder = tmp_path_factory.mktemp("wheel")
    archive = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True)
    for name in filter(None, archive.stdout.split("\0")):
        if name.partition("/")[0] in BUILT_FROM:
            target = folder / "source" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((ROOT / name).read_bytes())
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(folder), str(folder / "source")], check=True, env=inherited_env())
    [built] = folder.glob("*.whl")
    return built


def test_a_wheel_holds_every_package_under_one_import_name(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(
        ["git", "ls-files", "gateway", "shared", "worker", "holdfast", "clients/js/__init__.py", "clients/js/src/*.js"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    ).stdout.split()  # fmt: skip
    served = [name.replace("clients/js/", "gateway/client_js/") for name in tracked]
    expected = {name if name.startswith("holdfast/") else f"holdfast/{name}" for name in served}
    assert {name for name in names if ".dist-info/" not in name} == expected


@pytest.mark.timeout(300)
async def test_a_project_with_a_package_called_shared_runs_its_agent_with_an_installed_holdfast(
    wheel: Path, processes: Processes, tmp_path: Path
) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    lock = ["--require-hashes", "--requirement", str(ROOT / "requirements-run.txt")]
    subprocess.run([*INSTALLER, "--python", str(python), *lock], check=True)
    subprocess.run([*INSTALLER, "--python", str(python), "--no-deps", str(wheel)], check=True)
    project = tmp_path / "project"
    (project / "shared").mkdir(parents=True)
    (project / "shared" / "__init__.py").write_text("GREETING = 'hello'\n")
    (project / "my_agent.py").write_text(AGENT)

    port = free_port()
    command = str(python.parent / "holdfast")
    dev = processes.start([command, "dev"], project, HOLDFAST_PORT=str(port), HOLDFAST_AGENTS="my_agent")
    await dev.until_output("Holdfast is at")
    sent = subprocess.run(
        [command, "send", "Ada", "--agent", "greet", "--url", f"http://127.0.0.1:{port}"],
        cwd=project, env=inherited_env(), capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    assert '"hello Ada"' in sent.stdout
    for name in ("gateway", "worker", "shared"):
        foreign = subprocess.run([str(python), "-c", f"import {name}"], cwd=tmp_path, capture_output=True, check=False)
        assert b"ModuleNotFoundError" in foreign.stderr
