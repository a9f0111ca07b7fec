"""What `holdfast dev` writes of the lines of its processes."""

from __future__ import annotations

import json

import pytest
from holdfast.worker.agents.models import WITHOUT_KEY

from holdfast.cli.console import Console


def logged(event: str, **fields: object) -> str:
    entry = {"event": event, "process": "worker", "level": "info", "timestamp": "2026-11-22T18:14:17.668027Z"}
    return json.dumps(entry | fields)


LINES = [logged("worker started"), "printed by an agent", '{"event": "of an agent"}', "{broken", ""]


def test_as_json_each_line_is_an_entry_and_a_log_line_is_unchanged(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(as_json=True)
    for line in LINES:
        console.write("worker", line)
    console.announce("http://127.0.0.1:8000")
    out, err = capsys.readouterr()
    assert err.splitlines()[0] == LINES[0]
    entries = [json.loads(line) for line in err.splitlines() + out.splitlines()]
    assert [entry["event"] for entry in entries[1:]] == [*LINES[1:], "Holdfast is at http://127.0.0.1:8000"]
    assert [entry["process"] for entry in entries] == ["worker"] * 5 + ["dev"]
    assert all(entry.keys() >= {"level", "timestamp"} for entry in entries)


def test_as_text_each_line_has_its_time_and_process(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(as_json=False)
    for line in [*LINES, "worker and more"]:
        console.write("worker", line)
    console.announce("http://127.0.0.1:8000")
    out, err = capsys.readouterr()
    assert [line[len("HH:MM:SS ") :] for line in err.splitlines()] == [
        "worker  started",
        *(f"worker  {line}".rstrip() for line in LINES[1:]),
        "worker  worker and more",
    ]
    assert out.splitlines() == [
        "",
        "Holdfast is at http://127.0.0.1:8000",
        "The console is at http://127.0.0.1:8000/console",
        "Ctrl-C stops it.",
        "",
    ]


def test_a_restarted_worker_does_not_repeat_the_notice_about_keys(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(as_json=False)
    notice = logged(WITHOUT_KEY, agents=["openai"], unset=["OPENAI_API_KEY"])
    for _ in range(2):
        console.write("worker", notice)
    assert capsys.readouterr().err == ""  # it comes once all is up, below what starts
    console.announce("http://127.0.0.1:8000")
    console.write("worker", notice)
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(f"worker  {WITHOUT_KEY} agents=openai unset=OPENAI_API_KEY")


def test_a_terminal_shows_the_addresses_in_bold(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    console = Console(as_json=False)
    monkeypatch.setattr("holdfast.cli.console.wants_colors", lambda _out: True)
    console.announce("http://127.0.0.1:8000")
    assert "\x1b[1mhttp://127.0.0.1:8000\x1b[0m" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        (logged("chosen", level="notice"), "worker  notice:chosen"),
        (logged("counted", timestamp=1763683200.1), None),
        (logged("counted", timestamp="soon"), None),
    ],
    ids=["an unknown level", "a time in seconds", "a time in words"],
)
def test_a_log_line_of_an_agents_own_logger_is_written(
    line: str, shown: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    Console(as_json=False).write("worker", line)
    written = capsys.readouterr().err.rstrip("\n")[len("HH:MM:SS ") :]
    assert written.replace(" ", "") == (shown or f"worker  {line}").replace(" ", "")
