"""What `holdfast dev` does with the processes that it keeps up."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from holdfast.cli import children
from holdfast.cli.children import Child, Plan
from tests.support.process import ROOT, until


class Said(list[tuple[str, str]]):
    """Collects what was said, as (who, line)."""

    def write(self, process: str, line: str) -> None:
        self.append((process, line))

    def by(self, who: str) -> list[str]:
        return [line for speaker, line in self if speaker == who]


def python(code: str) -> Plan:
    return Plan("child", [sys.executable, "-u", "-c", code], os.environ, ROOT)


async def test_every_line_is_passed_on_however_long_and_even_without_an_end() -> None:
    said = Said()
    child = Child(python("print('x' * 200_000); print('e', end='')"), said)
    await child.start()
    await until(lambda: len(said.by("child")) == 2)
    assert said.by("child") == ["x" * 200_000, "e"]
    await child.stop(5)


async def test_one_that_ended_is_started_again_with_a_line_that_says_how_it_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(children, "PAUSE_SECONDS", 0.0)
    said = Said()
    child = Child(python("import os; print(os.getpid()); input() if 0 else __import__('time').sleep(600)"), said)
    await child.start()
    await until(lambda: len(said.by("child")) == 1)
    keeping = asyncio.create_task(child.keep_up())
    os.kill(int(said.by("child")[0]), signal.SIGKILL)
    await until(lambda: len(said.by("child")) == 2)
    assert said.by("dev") == ["child was ended by SIGKILL; starting it again"]
    keeping.cancel()
    await child.stop(5)
    assert child.ended == "was ended by SIGTERM"


async def test_what_is_to_happen_after_the_exit_of_one_happens_before_the_next_one_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(children, "PAUSE_SECONDS", 0.0)
    said = Said()

    async def after_exit(pid: int) -> None:
        said.write("after", f"{pid} of {len(said.by('child'))}")

    plan = replace(python("import os; print(os.getpid()); __import__('time').sleep(600)"), after_exit=after_exit)
    child = Child(plan, said)
    await child.start()
    await until(lambda: len(said.by("child")) == 1)
    keeping = asyncio.create_task(child.keep_up())
    first = said.by("child")[0]
    os.kill(int(first), signal.SIGKILL)
    await until(lambda: len(said.by("child")) == 2)
    assert said.by("after") == [f"{first} of 1"]
    keeping.cancel()
    await child.stop(5)


async def test_one_that_does_not_obey_sigterm_is_killed_when_patience_ends() -> None:
    said = Said()
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up'); time.sleep(600)"
    child = Child(python(stubborn), said)
    await child.start()
    await until(lambda: said.by("child") == ["up"])
    await child.stop(0.05)
    assert child.ended == "was ended by SIGKILL"
    assert said.by("dev") == ["child still runs after 0.05 s; killing it"]


async def test_stopping_one_that_ended_already_returns_at_once() -> None:
    child = Child(python("pass"), Said())
    await child.start()
    await until(lambda: child.ended is not None)
    await child.stop(5)
    assert child.ended == "ended with exit code 0"


async def test_what_a_child_started_itself_is_killed_with_it(tmp_path: Path) -> None:
    said = Said()
    code = (
        "import signal, subprocess, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "c = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); print(c.pid); time.sleep(600)"
    )
    child = Child(python(code), said)
    await child.start()
    await until(lambda: len(said.by("child")) == 1)
    grandchild = int(said.by("child")[0])
    await child.stop(0.05)
    await until(lambda: not runs(grandchild))


def runs(pid: int) -> bool:
    """Whether the process exists and is no zombie that nobody reaps here."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
