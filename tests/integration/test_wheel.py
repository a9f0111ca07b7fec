"""The wheel, built from the checkout and used in an environment of its own by a project that has a `shared` package."""

from __future__ import annotations

import re
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from tests.support.ports import free_port
from tests.support.process import ROOT, Processes, inherited_env

CLIENT = "clients/python/holdfast_client"
BUILT_FROM = ["clients", "gateway", "holdfast", "shared", "worker", "pyproject.toml", "README.md", "LICENSE"]
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

USE = """
import asyncio, sys
from holdfast_client import Client, SyncClient

async def main():
    async with Client(sys.argv[1]) as client:
        print((await client.run("hi", agent="scripted", options={"tokens": 3})).text)

asyncio.run(main())
with SyncClient(sys.argv[1]) as client:
    print(client.run("hi", agent="scripted", options={"tokens": 3}).text)
"""


TYPED = """
from collections.abc import AsyncIterator

from holdfast import AgentError, Run, agent
from holdfast.client import Client


@agent
async def parrot(run: Run) -> AsyncIterator[str]:
    if not run.input:
        raise AgentError("nothing", "Say something")
    await run.status("Thinking it over")
    for word in str(run.input).split():
        yield word + " "


@agent("greeter", warm=lambda: None)
async def greet(run: Run) -> None:
    await run.text(await run.ask("Who are you?"))


async def main() -> None:
    async with Client("http://localhost:8000") as client:
        print((await client.run("hi", agent="parrot")).text)
"""
MISTAKEN = """
from holdfast import Run, agent


@agent
async def mistaken(run: Run) -> None:
    await run.statuss("misspelt")
    await run.text(7)
"""


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what wheels are built from, so that nothing is left behind in the checkout."""
    folder = tmp_path_factory.mktemp("source")
    for name in tracked(*BUILT_FROM):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    return folder


def tracked(*names: str) -> list[str]:
    listed = subprocess.run(["git", "ls-files", "-z", *names], cwd=ROOT, check=True, capture_output=True, text=True)
    return list(filter(None, listed.stdout.split("\0")))


def built(source: Path, into: Path) -> Path:
    """The wheel of a folder with a pyproject.toml."""
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*build, "--wheel-dir", str(into), str(source)], check=True, env=inherited_env())
    [wheel] = into.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(source, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def client_wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(source / "clients" / "python", tmp_path_factory.mktemp("client-wheel"))


def files(wheel: Path) -> set[str]:
    return {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}


def test_a_wheel_holds_every_package_under_one_import_name(wheel: Path) -> None:
    own = tracked("gateway", "shared", "worker", "holdfast")
    expected = {name if name.startswith("holdfast/") else f"holdfast/{name}" for name in own}
    expected |= {name.replace(CLIENT, "holdfast/client") for name in tracked(CLIENT)}
    served = tracked("clients/js/__init__.py", "clients/js/src/*.js")
    expected |= {name.replace("clients/js", "holdfast/gateway/client_js") for name in served}
    assert files(wheel) == expected


def test_the_wheel_of_the_client_holds_the_same_files_its_types_and_its_licence(client_wheel: Path) -> None:
    assert files(client_wheel) == {name.removeprefix("clients/python/") for name in tracked(CLIENT)}
    names = zipfile.ZipFile(client_wheel).namelist()
    assert "holdfast_client/py.typed" in names
    assert [name for name in names if name.endswith("/licenses/LICENSE")]
    metadata = zipfile.ZipFile(client_wheel).read(next(name for name in names if name.endswith("/METADATA"))).decode()
    assert re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE) == ["httpx<1,>=0.27"]


@pytest.mark.timeout(300)
def test_an_agent_outside_the_clone_is_checked_by_its_types(wheel: Path, tmp_path: Path) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    subprocess.run([*INSTALLER, "--python", str(python), "--no-deps", str(wheel)], check=True)
    [site] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    (tmp_path / "typed.py").write_text(TYPED)
    (tmp_path / "mistaken.py").write_text(MISTAKEN)
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(python), "typed.py", "mistaken.py"],
        cwd=tmp_path,
        env=inherited_env(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert re.findall(r"^(\S+): error: .*\[(.+)\]$", checked.stdout, re.MULTILINE) == [
        ("mistaken.py:7", "attr-defined"),
        ("mistaken.py:8", "arg-type"),
    ], checked.stdout


@pytest.mark.timeout(300)
async def test_the_installed_client_runs_a_job_from_outside_the_clone(
    client_wheel: Path, processes: Processes, redis_url: str, tmp_path: Path
) -> None:
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    pins = ["--constraint", str(ROOT / "requirements.txt")]
    subprocess.run([*INSTALLER, "--python", str(python), *pins, str(client_wheel)], check=True)
    gateway, worker = processes.gateway(redis_url), processes.worker(redis_url)
    await gateway.until_ready()
    await worker.until_output("worker started")
    done = subprocess.run(
        [str(python), "-c", USE, gateway.url], cwd=tmp_path, env=inherited_env(), capture_output=True, text=True,
        timeout=120, check=False,
    )  # fmt: skip
    assert done.stdout == 2 * "w0 w1 w2 \n", done.stderr
    foreign = subprocess.run([str(python), "-c", "import holdfast"], cwd=tmp_path, capture_output=True, check=False)
    assert b"ModuleNotFoundError" in foreign.stderr


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
        cwd=project, env=inherited_env(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert sent.returncode == 0, sent.stderr
    assert '"hello Ada"' in sent.stdout
    for name in ("gateway", "worker", "shared"):
        foreign = subprocess.run([str(python), "-c", f"import {name}"], cwd=tmp_path, capture_output=True, check=False)
        assert b"ModuleNotFoundError" in foreign.stderr
