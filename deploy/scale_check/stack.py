"""The containers: of a compose project of the check's own, or of the deployment that runs."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from deploy.scale_check import BUILD_S, COMMAND_S, GATEWAYS, WORKERS, CheckFailed

ROOT = Path(__file__).resolve().parents[2]
PROJECT = "holdfast-scale-check"


class Stack:
    """A compose project. Every call raises CheckFailed when it does not work out in time.

    Args:
        project: its name; None for the one that COMPOSE_PROJECT_NAME or the folder names.
        environment: variables besides those of this process; they precede the file .env.
    """

    def __init__(self, project: str | None, environment: Mapping[str, str]) -> None:
        named = [] if project is None else ["-p", project]
        self._compose = [*shlex.split(os.environ.get("COMPOSE", "docker compose")), *named]
        self._engine = shlex.split(os.environ.get("ENGINE", "docker"))
        self._env = os.environ | environment

    def up(self) -> None:
        self._run([*self._compose, "build"], BUILD_S)
        self._run([*self._compose, "up", "-d"], COMMAND_S)

    def down(self) -> None:
        self._run([*self._compose, "down", "--volumes", "--timeout", "5"], COMMAND_S)

    def healthy(self, service: str, index: int) -> bool:
        """Whether the health check of one container of the service succeeds."""
        return self._exec(service, index, ["python", "/opt/holdfast/health.py", service]).returncode == 0

    def host_name(self, service: str, index: int) -> str:
        """A container's name for itself: the beginning of its id."""
        return self._exec(service, index, ["python", "-c", "import socket; print(socket.gethostname())"]).stdout.strip()

    def kill(self, host_name: str) -> None:
        self._run([*self._engine, "kill", "--signal", "KILL", host_name], COMMAND_S)

    def logs(self) -> str:
        return self._call([*self._compose, "logs", "--tail", "40"], COMMAND_S).stdout

    def _exec(self, service: str, index: int, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return self._call([*self._compose, "exec", "-T", "--index", str(index), service, *command], COMMAND_S)

    def _run(self, command: Sequence[str], timeout_s: float) -> None:
        done = self._call(command, timeout_s)
        if done.returncode != 0:
            raise CheckFailed(
                f"{shlex.join(command)} exited with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
            )

    def _call(self, command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError:
            raise CheckFailed(f"{command[0]} is not there; COMPOSE and ENGINE say what to use instead") from None
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"{shlex.join(command)} did not end within {timeout_s} s") from None


def own_stack(port: int) -> Stack:
    """A stack that leaves one that runs alone: it has a project name, a port and volumes of its own.

    Whatever .env says of a deployment with TLS and authentication, it is on loopback and without them."""
    return Stack(
        PROJECT,
        {
            "COMPOSE_FILE": "docker-compose.yml",
            "HOLDFAST_AUTH": "off",
            "HOLDFAST_PORT": str(port),
            "HOLDFAST_SCRIPTED_AGENT": "1",
            "HOLDFAST_WORKERS": str(WORKERS),
            "HOLDFAST_GATEWAYS": str(GATEWAYS),
            "HOLDFAST_REDIS_URL": "",
            "HOLDFAST_LOG_REDIS_URL": "",
        },
    )


def running_stack() -> Stack:
    """The deployment of this folder, as the environment and .env describe it."""
    return Stack(None, {})
