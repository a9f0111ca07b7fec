"""A gateway, a worker or any other command as a process of its own, which a test may kill, freeze and read."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import httpx2

from holdfast.cli.tether import tethered
from tests.support.fork_server import Fork
from tests.support.ports import free_port

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 90  # on a machine that does other work too


class Process:
    """A running command. Its output goes to a file, `output()` reads it; at a test's end it is killed."""

    def __init__(self, popen: subprocess.Popen[bytes] | Fork, log: Path) -> None:
        self.log = log
        self._popen = popen
        self.pid = popen.pid

    @property
    def running(self) -> bool:
        return self._popen.poll() is None

    @property
    def returncode(self) -> int:
        """The exit code of a process that ended, negative for a signal."""
        assert self._popen.returncode is not None
        return self._popen.returncode

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def terminate(self) -> None:
        self._signal(signal.SIGTERM)

    def interrupt(self) -> None:
        self._signal(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL. Returns once the process is gone."""
        self._signal(signal.SIGKILL)
        self._popen.wait()

    def stop(self) -> None:
        """SIGSTOP: alive for the kernel, frozen for everybody else."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        self._signal(signal.SIGCONT)

    async def wait(self, timeout_s: float = READY_SECONDS) -> int:
        """Wait for the end. Returns the exit code, negative for a signal."""
        await until(lambda: not self.running, timeout_s, self.describe)
        return self.returncode

    async def until_output(self, text: str, timeout_s: float = READY_SECONDS) -> None:
        """Wait until the output has the text. Fails at once when the process ended without it."""
        await until(lambda: text in self.output() or not self.running, timeout_s, self.describe)
        assert text in self.output(), self.describe()

    def describe(self) -> str:
        state = "runs" if self.running else f"ended with {self.returncode}"
        return f"process {self.pid} {state}; its output:\n{self.output()}"

    def _signal(self, number: signal.Signals) -> None:
        if self.running:
            self._popen.send_signal(number)


def spawn(command: list[str], *, env: Mapping[str, str], log: Path, cwd: Path = ROOT) -> subprocess.Popen[bytes]:
    """Start a command whose output goes to a file. It is killed if the tests die."""
    wrapped, descriptors = tethered(command)
    with log.open("ab") as sink:
        return subprocess.Popen(
            wrapped,
            env=inherited_env() | dict(env),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            pass_fds=descriptors,
            start_new_session=True,
        )


class Gateway(Process):
    """A gateway at `url`."""

    def __init__(self, port: int, *, env: Mapping[str, str], log: Path, forked: bool = True) -> None:
        self.url = f"http://127.0.0.1:{port}"
        bound = {"HOLDFAST_HOST": "127.0.0.1", "HOLDFAST_PORT": str(port)}
        env = inherited_env() | dict(env) | bound
        if forked:
            super().__init__(Fork("holdfast.gateway", env=env, cwd=ROOT, out=log, err=log), log)
        else:
            super().__init__(spawn([sys.executable, "-m", "holdfast.gateway"], env=env, log=log), log)

    async def until_ready(self, timeout_s: float = READY_SECONDS) -> None:
        """Wait until /readyz answers 200."""
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False) as client:
            await until(lambda: self._ready(client), timeout_s, self.describe)

    async def _ready(self, client: httpx2.AsyncClient) -> bool:
        assert self.running, self.describe()
        try:
            return (await client.get("/readyz")).status_code == 200
        except httpx2.TransportError:
            return False


class Processes:
    """Starts the processes of one test, each with a log file in `folder`. `env` adds to what a process inherits."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Process] = []

    def start(self, command: list[str], cwd: Path = ROOT, /, **env: str) -> Process:
        log = self._log(Path(command[0]).name)
        self._started.append(Process(spawn(command, env=env, log=log, cwd=cwd), log))
        return self._started[-1]

    def gateway(self, redis_url: str, *, port: int | None = None, **env: str) -> Gateway:
        """Started, not ready yet: `await gateway.until_ready()`."""
        process = Gateway(port or free_port(), env={"HOLDFAST_REDIS_URL": redis_url} | env, log=self._log("gateway"))
        self._started.append(process)
        return process

    def unforked_gateway(self, redis_url: str) -> Gateway:
        """For a test of memory: that of a fork grows as it uses what was imported before."""
        env = {"HOLDFAST_REDIS_URL": redis_url}
        process = Gateway(free_port(), env=env, log=self._log("gateway"), forked=False)
        self._started.append(process)
        return process

    def worker(self, redis_url: str, **env: str) -> Process:
        """A worker that offers the scripted agent. GET /v1/agents tells when it does."""
        bound = {"HOLDFAST_REDIS_URL": redis_url, "HOLDFAST_SCRIPTED_AGENT": "1"}
        log = self._log("worker")
        fork = Fork("holdfast.worker", env=inherited_env() | bound | env, cwd=ROOT, out=log, err=log)
        self._started.append(Process(fork, log))
        return self._started[-1]

    def kill(self) -> None:
        for process in self._started:
            process.kill()

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}-{len(self._started)}.log"


def inherited_env() -> dict[str, str]:
    """This process's environment without what would configure Holdfast, a provider or a proxy behind a test's back."""
    foreign = ("HOLDFAST_", "OPENAI_", "ANTHROPIC_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign)}
    return {name: value for name, value in kept.items() if not name.lower().endswith("_proxy")} | {
        "PYTHONUNBUFFERED": "1",
    }


async def until(
    condition: Callable[[], bool | Awaitable[bool]],
    timeout_s: float = READY_SECONDS,
    describe: Callable[[], str] = lambda: "",
) -> None:
    """Wait until the condition holds, looking every 10 ms. Fails after `timeout_s` with what `describe` says."""
    deadline = time.monotonic() + timeout_s
    while True:
        held = condition()
        if held if isinstance(held, bool) else await held:
            return
        assert time.monotonic() < deadline, f"not so after {timeout_s} s. {describe()}"
        await asyncio.sleep(0.01)
