"""`holdfast dev`, `send`, `tail` and `check`, as a person types them."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.support.fork_server import Fork
from tests.support.ports import free_port
from tests.support.process import ROOT, Process, Processes, inherited_env, until
from tests.support.redis_server import RedisServer
from tests.support.scene import words

HOLDFAST = [sys.executable, "-m", "holdfast"]
FROM_ANYWHERE = [sys.executable, "-P", "-m", "holdfast"]


@pytest.fixture
def folder(tmp_path: Path) -> str:
    """The data folder of the test's `holdfast dev`."""
    return str(tmp_path / "data")


def start_dev(processes: Processes, folder: str, port: int, **env: str) -> Process:
    return processes.start([*HOLDFAST, "dev", "--data", folder], HOLDFAST_PORT=str(port), **env)


def run(*arguments: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end, its output redirected."""
    with TemporaryDirectory() as folder:
        out, err = Path(folder, "out"), Path(folder, "err")
        command = Fork("holdfast", *arguments, env=inherited_env() | env, cwd=ROOT, out=out, err=err)
        command.wait(60)
        assert command.returncode is not None
        return subprocess.CompletedProcess(arguments, command.returncode, out.read_text(), err.read_text())


def send(port: int, *arguments: str) -> list[dict[str, Any]]:
    """Send to the scripted agent and read its events. Fails when the command does."""
    url = f"http://127.0.0.1:{port}"
    sent = run("send", "hello", "--agent", "scripted", "--url", url, "-o", "interval_ms=1", *arguments)
    assert sent.returncode == 0, sent.stderr
    return [json.loads(line) for line in sent.stdout.splitlines()]


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["text"] for event in events if event["type"] == "text.delta")


def descendants(pid: int) -> set[int]:
    """The pids of all that the process started, and that they started."""
    listing = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listing.splitlines())}
    found: set[int] = set()
    while more := {child for child, parent in parents.items() if parent in found | {pid}} - found:
        found |= more
    return found


def child_named(pid: int, text: str) -> int:
    """The descendant whose command line has the text."""
    lines = {child: Path(f"/proc/{child}/cmdline").read_bytes().decode() for child in descendants(pid)}
    return next(child for child, line in lines.items() if text in line.replace("\0", " "))


async def test_one_command_brings_everything_up_and_sigterm_ends_it_cleanly(processes: Processes, folder: str) -> None:
    port = free_port()
    dev = start_dev(processes, folder, port)
    await dev.until_output(f"Holdfast is at http://127.0.0.1:{port}")
    events = send(port, "-o", "tokens=5")
    assert text_of(events) == "w0 w1 w2 w3 w4 "
    assert events[-1]["type"] == "job.completed"

    started = descendants(dev.pid)
    assert len(started) >= 3
    dev.terminate()
    assert await dev.wait() == 0
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]


async def test_ctrl_c_ends_it_cleanly(processes: Processes, folder: str) -> None:
    dev = start_dev(processes, folder, free_port())
    await dev.until_output("Holdfast is at")
    dev.interrupt()
    assert await dev.wait() == 0
    assert "Traceback" not in dev.output()


async def test_nothing_is_left_when_it_is_killed_by_sigkill(processes: Processes, folder: str) -> None:
    dev = start_dev(processes, folder, free_port())
    await dev.until_output("Holdfast is at")
    started = descendants(dev.pid)
    dev.kill()
    await until(lambda: not [pid for pid in started if Path(f"/proc/{pid}").exists()])


async def test_what_was_said_is_there_after_a_kill_and_a_new_start(processes: Processes, folder: str) -> None:
    port = free_port()
    first = start_dev(processes, folder, port)
    await first.until_output("Holdfast is at")
    sent = send(port, "--session", "kept", "-o", "tokens=5")
    first.kill()

    second = start_dev(processes, folder, port)
    await second.until_output("Holdfast is at")
    again = run("tail", "kept", "--job", sent[0]["job_id"], "--url", f"http://127.0.0.1:{port}")
    assert text_of([json.loads(line) for line in again.stdout.splitlines()]) == text_of(sent)


async def test_a_worker_that_dies_is_started_again_and_its_job_goes_on(processes: Processes, folder: str) -> None:
    port = free_port()
    dev = start_dev(processes, folder, port, HOLDFAST_LEASE_SECONDS="1")
    await dev.until_output("Holdfast is at")
    events = send(port, "-o", "tokens=20", "-o", "crash_at=10")
    assert events[-1]["type"] == "job.completed"
    assert [event["attempt"] for event in events if event["type"] == "job.started"][-1] == 2
    assert "worker was ended by SIGKILL; starting it again" in dev.output()


async def test_a_job_that_a_stop_cut_off_goes_on_after_the_next_start(processes: Processes, folder: str) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    first = start_dev(processes, folder, port, HOLDFAST_GRACE_SECONDS="0")
    await first.until_output("Holdfast is at")
    options = ["-o", "tokens=600", "-o", "interval_ms=5", "--session", "cut", "--url", url]
    viewer = processes.start([*HOLDFAST, "send", "hi", "--agent", "scripted", *options])
    await viewer.until_output("w20 ")
    first.terminate()
    assert await first.wait() == 0
    assert "killing" not in first.output()

    second = start_dev(processes, folder, port)
    await second.until_output("Holdfast is at")
    assert await viewer.wait() == 0
    events = [json.loads(line) for line in viewer.output().splitlines() if line.startswith("{")]
    assert [event["attempt"] for event in events if event["type"] == "job.started"] == [1, 2]
    last_attempt = events[[event.get("attempt") for event in events].index(2) :]
    assert text_of(last_attempt) == "".join(f"w{i} " for i in range(600))


async def test_a_viewer_goes_on_over_the_death_of_the_gateway(processes: Processes, folder: str) -> None:
    port = free_port()
    dev = start_dev(processes, folder, port)
    await dev.until_output("Holdfast is at")
    url = f"http://127.0.0.1:{port}"
    viewer = processes.start(
        [*HOLDFAST, "send", "hi", "--agent", "scripted", "-o", "tokens=100", "-o", "interval_ms=20", "--url", url]
    )
    await viewer.until_output("w20 ")
    os.kill(child_named(dev.pid, "-m holdfast.gateway"), signal.SIGKILL)
    assert await viewer.wait() == 0
    events = [json.loads(line) for line in viewer.output().splitlines() if line.startswith("{")]
    assert text_of(events) == "".join(f"w{i} " for i in range(100))


@contextmanager
def listening() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def test_a_port_in_use_is_one_clear_line(folder: str) -> None:
    with listening() as port:
        ended = run("dev", "--data", folder, HOLDFAST_PORT=str(port))
    assert ended.returncode == 1
    assert ended.stderr == (
        f"holdfast: Cannot listen on 127.0.0.1:{port} (Address already in use): set HOLDFAST_PORT to another\n"
    )


async def test_a_folder_in_use_is_one_clear_line(processes: Processes, folder: str) -> None:
    first = start_dev(processes, folder, free_port())
    await first.until_output("Holdfast is at")
    second = run("dev", "--data", folder, HOLDFAST_PORT="0")
    assert second.returncode == 1
    assert second.stderr == f"holdfast: Another `holdfast dev` uses {folder}: end it, or choose another by --data\n"


def test_agents_that_cannot_be_imported_end_it_with_their_reason(folder: str) -> None:
    ended = run("dev", "--data", folder, "--agents", "no_such_module", HOLDFAST_PORT="0")
    assert ended.returncode == 1
    assert "no_such_module" in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith("holdfast: worker ended with exit code")


async def test_a_question_is_answered_from_a_terminal_once(processes: Processes, folder: str) -> None:
    port = free_port()
    dev = start_dev(processes, folder, port)
    await dev.until_output("Holdfast is at")
    url = f"http://127.0.0.1:{port}"
    assert "There is no such session" in run("answer", "asked", "yes", "--url", url).stderr
    options = ["--session", "asked", "-o", "tokens=3", "-o", "ask=Go on?", "--url", url]
    viewer = processes.start([*HOLDFAST, "send", "hi", "--agent", "scripted", *options])
    await viewer.until_output("question.asked")
    assert run("answer", "asked", '{"go": true}', "--url", url).returncode == 0
    assert await viewer.wait() == 0
    [answered] = [json.loads(line) for line in viewer.output().splitlines() if "question.answered" in line]
    assert answered["value"] == {"go": True}
    again = run("answer", "asked", "no", "--url", url)
    assert again.returncode == 1
    assert again.stderr == "holdfast: The question is answered already (question_answered)\n"


GREET = "from holdfast import Run, agent\n\n@agent\nasync def greet(run: Run) -> None:\n    await run.text('hello')\n"


async def test_agents_of_the_working_folder_are_offered_and_its_folders_named_as_ours_are_not_in_the_way(
    processes: Processes, tmp_path: Path
) -> None:
    (tmp_path / "my_agents.py").write_text(GREET)
    for name in ("shared", "gateway", "worker", "holdfast"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('the wrong one')\n")
    port = free_port()
    bound = {"HOLDFAST_PORT": str(port), "HOLDFAST_AGENTS": "my_agents"}
    command = str(Path(sys.executable).parent / "holdfast")
    dev = processes.start([command, "dev"], tmp_path, **bound)
    await dev.until_output("Holdfast is at")
    sent = run("send", "x", "--agent", "greet", "--url", f"http://127.0.0.1:{port}")
    assert text_of([json.loads(line) for line in sent.stdout.splitlines()]) == "hello"


async def test_redirected_each_line_of_it_is_json(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "my_agents.py").write_text(GREET + "    print('printed')\n")
    port = free_port()
    dev = processes.start([*HOLDFAST, "dev"], tmp_path, HOLDFAST_PORT=str(port), HOLDFAST_AGENTS="my_agents")
    await dev.until_output("Holdfast is at")
    run("send", "x", "--agent", "greet", "--url", f"http://127.0.0.1:{port}")
    dev.terminate()
    assert await dev.wait() == 0
    entries = [json.loads(line) for line in dev.output().splitlines()]
    assert {entry["process"] for entry in entries} == {"dev", "gateway", "worker"}
    assert "printed" in [entry["event"] for entry in entries]
    [ended] = [entry for entry in entries if entry["event"] == "job completed"]
    assert (ended["agent"], type(ended["ms"])) == ("greet", int)


async def test_on_a_terminal_its_lines_are_text_with_colors_and_one_notice_about_keys(folder: str) -> None:
    port = free_port()
    terminal, end = pty.openpty()
    env = inherited_env() | {"HOLDFAST_PORT": str(port), "HOLDFAST_SCRIPTED_AGENT": "1"}
    env.pop("NO_COLOR", None)
    dev = subprocess.Popen([*HOLDFAST, "dev", "--data", folder], env=env, stdin=end, stdout=end, stderr=end)
    os.close(end)
    output = b""
    try:
        while b"Holdfast is at" not in output:
            output += await asyncio.to_thread(os.read, terminal, 65_536)
        await asyncio.to_thread(send, port, "-o", "tokens=1")
        while b"completed" not in output:
            output += await asyncio.to_thread(os.read, terminal, 65_536)
    finally:
        dev.kill()
        os.close(terminal)
        dev.wait()
    assert b"\x1b[2m" in output
    lines = re.sub(r"\x1b\[\d+m", "", output.decode()).splitlines()
    assert f"Holdfast is at http://127.0.0.1:{port}" in lines
    assert [line for line in lines if re.fullmatch(r"\d\d:\d\d:\d\d worker  scripted completed \d+ ms", line)]
    assert sum("key" in line for line in lines) == 1


class Workshop:
    """A `holdfast dev` with agents of one's own in a folder, whose files a test edits."""

    def __init__(self, processes: Processes, folder: Path, agents: str) -> None:
        self._processes = processes
        self._folder = folder
        self._agents = agents
        self.port = free_port()

    async def start(self) -> Process:
        bound = {"HOLDFAST_PORT": str(self.port), "HOLDFAST_AGENTS": self._agents, "HOLDFAST_GRACE_SECONDS": "0"}
        self.dev = self._processes.start([*FROM_ANYWHERE, "dev"], self._folder, PYTHONPATH=str(ROOT), **bound)
        await self.dev.until_output("Holdfast is at")
        return self.dev

    def write(self, name: str, source: str) -> None:
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(source)

    async def until_said(self, agent: str, text: str) -> None:
        """Wait until the agent answers so."""
        await until(lambda: self._said(agent) == text, describe=self.dev.describe)

    def _said(self, agent: str) -> str:
        sent = run("send", "x", "--agent", agent, "--url", f"http://127.0.0.1:{self.port}")
        return text_of([json.loads(line) for line in sent.stdout.splitlines()])


async def test_an_edited_agent_is_run_as_it_is_now(processes: Processes, tmp_path: Path) -> None:
    shop = Workshop(processes, tmp_path, "my_agents,more.agents")
    shop.write("words.py", "HELLO = 'hello'\n")
    shop.write("my_agents.py", "import words\n" + GREET.replace("'hello'", "words.HELLO"))
    shop.write("more/agents.py", GREET.replace("greet", "other"))
    dev = await shop.start()
    await shop.until_said("greet", "hello")
    shop.write("words.py", "HELLO = 'good morning'\n")
    await shop.until_said("greet", "good morning")
    assert "worker is restarted: words.py has changed" in dev.output()
    shop.write("more/agents.py", GREET.replace("greet", "other").replace("hello", "good evening"))
    await shop.until_said("other", "good evening")
    assert "starting it again" not in dev.output()


@pytest.mark.parametrize("broken_from_the_start", [True, False])
async def test_a_module_that_cannot_be_imported_is_one_line_and_its_agents_come_when_it_is_mended(
    processes: Processes, tmp_path: Path, broken_from_the_start: bool
) -> None:
    shop = Workshop(processes, tmp_path, "my_agents")
    shop.write("my_agents.py", "def broken(:\n" if broken_from_the_start else GREET)
    dev = await shop.start()
    if not broken_from_the_start:
        shop.write("my_agents.py", "def broken(:\n")
    line = "HOLDFAST_AGENTS: my_agents cannot be imported: SyntaxError: invalid syntax (my_agents.py, line 1)"
    await dev.until_output(line)
    await shop.until_said("scripted", words(100))
    assert dev.output().count("cannot be imported") == dev.output().count(line) == 1
    assert "Traceback" not in dev.output()
    shop.write("my_agents.py", GREET)
    await shop.until_said("greet", "hello")
    assert dev.output().count("cannot be imported") == 1
    dev.terminate()
    assert await dev.wait() == 0


async def test_a_module_that_is_not_there_yet_is_waited_for(processes: Processes, tmp_path: Path) -> None:
    shop = Workshop(processes, tmp_path, "more.agents")
    shop.write("more/others.py", "")
    dev = await shop.start()
    await dev.until_output("worker will be started when its files change")
    assert dev.output().count("holdfast worker: HOLDFAST_AGENTS: more.agents cannot be imported") == 1
    shop.write("more/agents.py", GREET)
    await shop.until_said("greet", "hello")


SLOW = """
import asyncio
from holdfast.worker import Run, agent

@agent
async def slow(run: Run):
    for number in range(EVENTS):
        yield f"{number} "
        await asyncio.sleep(0.02)
"""


async def test_a_job_that_runs_while_its_agent_is_edited_goes_on_in_the_new_one_without_a_strike(
    processes: Processes, tmp_path: Path
) -> None:
    shop = Workshop(processes, tmp_path, "my_agents")
    shop.write("my_agents.py", SLOW.replace("EVENTS", "100_000"))
    await shop.start()
    url = f"http://127.0.0.1:{shop.port}"
    viewer = processes.start([*HOLDFAST, "send", "hi", "--agent", "slow", "--session", "s", "--url", url])
    await viewer.until_output('"text":"5 "')
    shop.write("my_agents.py", SLOW.replace("EVENTS", "7"))
    assert await viewer.wait() == 0
    events = [json.loads(line) for line in viewer.output().splitlines() if line.startswith("{")]
    assert [event["attempt"] for event in events if event["type"] == "job.started"] == [1, 2]
    last = events[[event.get("attempt") for event in events].index(2) :]
    assert text_of(last) == "0 1 2 3 4 5 6 "


def test_check_is_content_with_a_server_that_will_do(redis_server: Callable[..., RedisServer]) -> None:
    checked = run("check", HOLDFAST_PORT=str(free_port()), HOLDFAST_REDIS_URL=redis_server(aof=True).url)
    assert checked.returncode == 0, checked.stdout
    assert "bad" not in checked.stdout
    assert "keeps an append-only file" in checked.stdout


def test_check_notes_that_nothing_is_kept_and_is_content(redis_server: Callable[..., RedisServer]) -> None:
    checked = run("check", HOLDFAST_PORT=str(free_port()), HOLDFAST_REDIS_URL=redis_server().url)
    assert checked.returncode == 0
    assert "note redis: keeps no append-only file" in checked.stdout


def test_check_refuses_a_server_that_evicts(redis_server: Callable[..., RedisServer]) -> None:
    checked = run(
        "check", HOLDFAST_PORT=str(free_port()), HOLDFAST_REDIS_URL=redis_server(maxmemory_policy="allkeys-lru").url
    )
    assert checked.returncode == 1
    assert "bad  redis: maxmemory-policy is allkeys-lru" in checked.stdout


def test_check_names_a_server_that_does_not_answer_without_its_password() -> None:
    checked = run(
        "check", HOLDFAST_PORT=str(free_port()), HOLDFAST_REDIS_URL=f"redis://user:secret@127.0.0.1:{free_port()}/0"
    )
    assert checked.returncode == 1
    assert "bad  redis at redis://127.0.0.1" in checked.stdout
    assert "secret" not in checked.stdout + checked.stderr


def test_check_names_a_setting_that_cannot_be_used() -> None:
    checked = run("check", HOLDFAST_LEASE_SECONDS="soon")
    assert checked.returncode == 1
    assert "HOLDFAST_LEASE_SECONDS" in checked.stdout


@pytest.mark.parametrize("url", ["nonsense", "http://u:secret@x", "redis://[::1", "redis://u:secret#1@x"])
@pytest.mark.parametrize("variable", ["HOLDFAST_REDIS_URL", "HOLDFAST_LOG_REDIS_URL"])
def test_check_says_of_what_is_no_address_which_variable_it_is_and_keeps_the_secret(url: str, variable: str) -> None:
    """`redis://[::1` was a traceback."""
    checked = run("check", **{"HOLDFAST_REDIS_URL": f"redis://127.0.0.1:{free_port()}"} | {variable: url})
    assert checked.returncode == 1
    assert variable in checked.stdout
    assert "secret" not in checked.stdout
    assert checked.stderr == ""


def test_check_notes_a_variable_that_nothing_reads() -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}"
    checked = run(
        "check",
        HOLDFAST_PORT=str(free_port()),
        HOLDFAST_REDIS_URL=nowhere,
        HOLDFAST_LEASE_SECOND="5",
        HOLDFAST_WORKERS="3",
    )
    notes = [line for line in checked.stdout.splitlines() if line.startswith("note")]
    assert notes[:1] == [
        "note settings: HOLDFAST_LEASE_SECOND is not a setting and has no effect; did you mean HOLDFAST_LEASE_SECONDS?"
    ]


@pytest.mark.parametrize("command", [["tail", "a/../b"], ["send", "hello", "--session", "a/b"]])
def test_a_session_id_outside_the_grammar_is_refused_before_anything_is_asked(command: list[str]) -> None:
    """`tail a/../b` watched b."""
    refused = run(*command, "--url", "http://127.0.0.1:1")
    assert refused.returncode == 1
    assert refused.stderr == "holdfast: session_id: 1 to 128 characters of A-Z, a-z, 0-9, '_' and '-'\n"


def test_sending_to_a_gateway_that_is_away_is_one_clear_line() -> None:
    sent = run("tail", "s", "--url", f"http://127.0.0.1:{free_port()}")
    assert sent.returncode == 1
    assert "does not answer" in sent.stderr
    assert len(sent.stderr.splitlines()) == 1


def test_check_reports_every_bad_setting_with_its_value_and_range() -> None:
    checked = run("check", HOLDFAST_LEASE_SECONDS="soon", HOLDFAST_PORT="99999", HOLDFAST_MAX_JOBS="0")
    assert checked.returncode == 1
    assert checked.stdout.splitlines() == [
        "bad  settings: HOLDFAST_LEASE_SECONDS is 'soon'; allowed: a number from 0.5 to 3,600",
        "bad  settings: HOLDFAST_PORT is '99999'; allowed: a whole number from 0 to 65,535",
        "bad  settings: HOLDFAST_MAX_JOBS is '0'; allowed: a whole number from 1 to 100,000",
    ]


def test_check_imports_the_agents_and_names_a_module_that_does_not_exist() -> None:
    nowhere = f"redis://127.0.0.1:{free_port()}"
    checked = run(
        "check",
        HOLDFAST_PORT=str(free_port()),
        HOLDFAST_REDIS_URL=nowhere,
        HOLDFAST_AGENTS="examples.basic,no_such_module",
    )
    assert checked.returncode == 1
    assert "ok   agents: examples.basic offers " in checked.stdout
    assert "bad  agents: HOLDFAST_AGENTS: no_such_module" in checked.stdout


async def test_check_looks_at_the_embedded_redis_and_the_gateway_of_a_dev_that_runs(
    processes: Processes, folder: str
) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    await start_dev(processes, folder, port).until_output("Holdfast is at")
    checked = run("check", "--data", folder, "--url", url)
    assert checked.returncode == 0, checked.stdout
    assert "ok   redis at redis://127.0.0.1:" in checked.stdout
    assert f"ok   gateway: ready at {url}" in checked.stdout


def test_check_says_when_no_gateway_answers(redis_server: Callable[..., RedisServer]) -> None:
    nowhere = f"http://127.0.0.1:{free_port()}"
    checked = run("check", "--url", nowhere, HOLDFAST_REDIS_URL=redis_server(aof=True).url)
    assert checked.returncode == 0
    assert f"note gateway: none answers at {nowhere}" in checked.stdout


@pytest.mark.parametrize("command", ["gateway", "worker", "dev"])
def test_a_misspelled_variable_is_reported_at_the_start_with_the_likely_name(command: str) -> None:
    started = run(command, HOLDFAST_AGENT="my_agent", HOLDFAST_LEASE_SECONDS="0")  # the bad lease ends the process
    assert (
        "holdfast: HOLDFAST_AGENT is not a setting and has no effect; did you mean HOLDFAST_AGENTS?" in started.stderr
    )
    assert started.returncode == 2


@pytest.mark.parametrize("host", ["203.0.113.7", "300.1.1.1", "a..b"])
@pytest.mark.parametrize(("command", "code"), [("dev", 2), ("gateway", 2), ("check", 1)])
def test_a_host_that_is_not_of_this_machine_is_named_and_not_the_port(command: str, code: int, host: str) -> None:
    started = run(command, HOLDFAST_HOST=host, HOLDFAST_REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    assert started.returncode == code
    said = started.stdout + started.stderr
    assert f"HOLDFAST_HOST is '{host}', which is not an address of this machine" in said
    assert "HOLDFAST_PORT" not in said
    assert "Traceback" not in said
