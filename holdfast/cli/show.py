"""Show events: as growing text on a terminal, else as one JSON object per line."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TextIO

import click
import orjson

from holdfast.cli.blocks import Blocks
from holdfast.client import Event

CONTROL = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])


def show_to(out: TextIO) -> TerminalShow | JsonShow:
    """Return what shows events in order on this stream; its `end` is called after the last one."""
    return TerminalShow(out) if out.isatty() else JsonShow(out)


class JsonShow:
    """Prints one `{"id": …, …}` per line, like the gateway's NDJSON."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def __call__(self, event: Event) -> None:
        line = event.body if event.id is None else {"id": event.id, **event.body}
        self._out.write(orjson.dumps(line).decode() + "\n")
        self._out.flush()

    def end(self) -> None:
        """Do nothing: every line is complete."""


class TerminalShow:
    """Prints the answer's text incrementally, and all else in dimmed lines. The lines of each of several agents begin
    with its name."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._at_line_start = True
        self._agent: str | None = None  # of the line that is being written
        self._blocks = Blocks(self._write_text)
        self._began: dict[str | None, str | None] = {}

    def __call__(self, event: Event) -> None:
        body = {name: _plain(value) if isinstance(value, str) else value for name, value in event.body.items()}
        if event.type in TEXTS:
            text = str(body.get("text", ""))
            self._blocks.add(body.get("agent"), text if event.type == "text.delta" else _dim(text))
        elif event.type == "job.started":
            self._line(None, _dim(self._started(event, body)))
        elif event.type not in SILENT:
            # A result of a tool does not end the text of an agent beside it.
            agent = body.pop("agent", None) if event.type in LINES else None
            self._line(agent, LINES.get(event.type, _other)(body))
        self._out.flush()

    def end(self) -> None:
        self._blocks.end()
        self._end_line()
        self._out.flush()

    def _started(self, event: Event, body: dict[str, Any]) -> str:
        """Describe the start of an attempt. Where it resumes is unknown if the job's first event was not shown."""
        job_id, discard_from = body.get("job_id"), body.get("discard_from")
        began = self._began.setdefault(job_id, event.id if discard_from is None else None)
        again = ""
        if discard_from is not None and began is not None:
            again = ": beginning again" if began == discard_from else ": continuing after the last completed step"
        return f"{body.get('agent')}, attempt {body.get('attempt')}{again}"

    def _write_text(self, agent: str | None, text: str) -> None:
        """Write a part of an agent's text, behind what that agent wrote last in this line."""
        if agent != self._agent:
            self._end_line()
        self._agent = agent
        for piece in text.splitlines(keepends=True):
            prefix = _dim(f"{agent} │ ") if agent and self._at_line_start else ""
            self._out.write(prefix + piece)
            self._at_line_start = piece.endswith("\n")

    def _line(self, agent: str | None, line: str) -> None:
        """Write a line of an agent; None: of the job, which ends the texts before it."""
        if agent is None:
            self._blocks.end()
        self._end_line()
        self._write_text(agent, line + "\n")

    def _end_line(self) -> None:
        if not self._at_line_start:
            self._out.write("\n")
            self._at_line_start = True


def _failed(body: dict[str, Any]) -> str:
    error = body.get("error") or {}
    return click.style(_plain(f"failed: {error.get('message')} ({error.get('code')})"), fg="red")


def _asked(body: dict[str, Any]) -> str:
    """Describe the question, the allowed answers, and how to answer."""
    wanted = wanted_by(body.get("schema") or {})
    question = f"? {body.get('prompt')}" + (f" [{_plain(wanted)}]" if wanted else "")
    return click.style(question, fg="cyan") + _dim("  answer it on the page, or with `holdfast answer SESSION VALUE`")


def wanted_by(schema: dict[str, Any]) -> str:
    """Summarize a JSON schema: `red | green`, `integer`, `city: string, days: integer`."""
    if "enum" in schema:
        return " | ".join(_words(value) for value in schema["enum"])
    if schema.get("properties"):
        fields = schema["properties"].items()
        return ", ".join(f"{name}: {wanted_by(field) or 'anything'}" for name, field in fields)
    kind = schema.get("type", "")
    return {"boolean": "true | false", "string": "text"}.get(kind, kind) if isinstance(kind, str) else ""


def _words(value: Any) -> str:
    return _plain(value) if isinstance(value, str) else _json(value)


def _other(body: dict[str, Any]) -> str:
    fields = {name: value for name, value in body.items() if name not in {"type", "job_id", "at", "prev", "from"}}
    return _dim(f"{body.get('type')} {_json(fields)}")


def _dim(text: str) -> str:
    return click.style(text, dim=True)


def _json(value: Any) -> str:
    return _plain(orjson.dumps(value).decode())


def _plain(text: str) -> str:
    """Remove control characters, with which a model's text could control the terminal."""
    return text.translate(CONTROL)


TEXTS = frozenset({"text.delta", "reasoning.delta"})
# Not shown on a terminal.
SILENT = frozenset({"job.completed", "section.ended", "tool.started", "tool.arguments.delta", "usage"})
# Shown as one line, by event type.
LINES: dict[str, Callable[[dict[str, Any]], str]] = {
    "job.queued": lambda body: _dim(f"waiting, {body.get('position')} before it"),
    "job.failed": _failed,
    "job.cancelled": lambda body: click.style(f"cancelled by {body.get('by')}", fg="yellow"),
    "status": lambda body: _dim(f"… {body.get('message')}"),
    "section.started": lambda body: click.style(str(body.get("title")), bold=True),
    "tool.called": lambda body: _dim(f"→ {body.get('name')} {_json(body.get('arguments'))}"),
    "tool.result": lambda body: _dim(f"← {_json(body.get('result'))}"),
    "tool.failed": lambda body: click.style(f"← {body.get('error')}", fg="red"),
    "question.asked": _asked,
    "question.answered": lambda body: click.style(f"! {_words(body.get('value'))}", fg="cyan"),
    "gap": lambda body: click.style(f"gap: events are missing ({body.get('reason')})", fg="yellow"),
}
