"""The commands that the documentation shows, and whether they exist."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Iterator

import click

from holdfast.__main__ import cli
from tests.support.process import ROOT

FOREIGN = {
    "cp", "curl", "docker", "export", "kubectl", "mkdir", "npm", "openssl", "pip", "python3", "redis-cli", "systemctl"
}  # fmt: skip
ALSO_IN = ("bench", "tests", "deploy", "scripts", "examples")


def commands(text: str) -> Iterator[list[str]]:
    """The words of each command of a shell block, without variables before it and redirections behind it."""
    for line in text.replace("\\\n", " ").splitlines():
        words: list[str] = []
        for word in [*shlex.split(line, comments=True), "&&"]:
            if word in ("&&", "|"):
                if words:
                    yield words
                words = []
            elif words or not re.match(r"[A-Z_]+=", word):
                words.append(word)


def check_command(words: list[str]) -> None:
    """Fail unless the program, its subcommand and its options exist."""
    program, *rest = words
    name = program.rpartition("/")[2]
    if name == "holdfast":
        _check_subcommand(cli, rest)
    elif name not in FOREIGN:
        assert os.access(ROOT / program, os.X_OK), f"no program {program}"
        for option in (word for word in rest if word.startswith("--")):
            _check_option(option)


def _check_subcommand(command: click.Command, rest: list[str]) -> None:
    if isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        assert rest[0] in command.commands, f"no subcommand {rest[0]}"
        _check_subcommand(command.commands[rest[0]], rest[1:])
    else:
        known = {name for parameter in command.params for name in parameter.opts}
        assert {word for word in rest if word.startswith("--")} <= known


def _check_option(option: str) -> None:
    """The script or the Python program behind it has the option in quotes, or as a case."""
    found = subprocess.run(
        ["git", "grep", "-qE", f'[" |(]{option}[") |]', "--", *ALSO_IN], cwd=ROOT, check=False
    )  # fmt: skip
    assert found.returncode == 0, f"no option {option}"
