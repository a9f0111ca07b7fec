"""A tethered command ends with its parent, whatever ends the parent."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from holdfast.cli.tether import tethered
from tests.support.process import ROOT, until

# Starts a tethered command that says its pid, and waits; `by_pipe` comes as an argument.
PARENT = """
import subprocess, sys
from holdfast.cli.tether import tethered
command = [sys.executable, "-c", "import os, time; print(os.getpid(), flush=True); time.sleep(600)"]
wrapped, descriptors = tethered(command, by_pipe=sys.argv[1] == "pipe")
subprocess.Popen(wrapped, pass_fds=descriptors, start_new_session=True).wait()
"""


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


WAYS = [pytest.param("kernel", marks=pytest.mark.skipif(sys.platform != "linux", reason="Linux has the call")), "pipe"]


@pytest.mark.parametrize("way", WAYS)
async def test_it_is_gone_after_its_parent_got_sigkill(way: str) -> None:
    parent = subprocess.Popen([sys.executable, "-c", PARENT, way], cwd=ROOT, stdout=subprocess.PIPE)
    with parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert alive(child)
        parent.kill()
    await until(lambda: not alive(child))


@pytest.mark.parametrize("by_pipe", [False, True])
def test_its_exit_code_is_the_commands(by_pipe: bool) -> None:
    wrapped, descriptors = tethered([sys.executable, "-c", "raise SystemExit(7)"], by_pipe=by_pipe)
    assert subprocess.run(wrapped, pass_fds=descriptors, check=False).returncode == 7
