"""Configure log lines: text on a terminal, JSON elsewhere. They name sessions and jobs, never their content."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable, Hashable, Mapping
from contextvars import ContextVar
from datetime import datetime
from typing import Any, TextIO

import structlog
from structlog.dev import Column, ConsoleRenderer, KeyValueColumnFormatter, plain_traceback
from structlog.types import EventDict, Processor

# Not in the text of a line with level `info`.
_OMITTED = ("level", "job_id", "replayed", "request_id", "session_id", "trace_id", "worker_id")

REMEMBERED = 1000  # keys of repeated conditions

REQUEST_ID: ContextVar[str] = ContextVar("request_id")
"""The id of the request that a gateway is handling, for its log lines."""


class TextRenderer:
    """Renders an entry as `HH:MM:SS worker  parrot completed 402 ms`, followed by its other fields."""

    def __init__(self, *, colors: bool) -> None:
        styles = ConsoleRenderer.get_default_column_styles(colors)
        levels = ConsoleRenderer.get_default_level_styles(colors)
        dim, reset = styles.timestamp, styles.reset
        self._console = ConsoleRenderer(
            columns=[
                Column("timestamp", KeyValueColumnFormatter(None, dim, reset, str)),
                Column("process", KeyValueColumnFormatter(None, styles.logger_name, reset, str, width=len("gateway"))),
                Column("level", lambda _, level: f"{levels.get(str(level), reset)}{level}:{reset}"),
                Column("event", KeyValueColumnFormatter(None, "", "", str)),
                Column("", KeyValueColumnFormatter(dim, dim, reset, _value)),
            ],
            exception_formatter=plain_traceback,  # the others show local variables: user content
        )

    def __call__(self, logger: Any, method: str, entry: EventDict) -> str:
        fields = dict(entry)
        at, event = datetime.fromisoformat(fields["timestamp"]).astimezone(), str(fields["event"])
        if fields.get("level") == "info":
            event = event.removeprefix(f"{fields['process']} ")
            fields = {name: value for name, value in fields.items() if name not in _OMITTED}
            if fields.get("attempt") == 1:
                del fields["attempt"]
        if event.startswith("job ") and "agent" in fields:
            event = event.replace("job", fields.pop("agent"), 1)
        if "ms" in fields:
            event += f" {fields.pop('ms')} ms"
        return self._console(logger, method, {**fields, "timestamp": f"{at:%H:%M:%S}", "event": event})


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return ",".join(map(str, value))
    return value if isinstance(value, str) and value.isprintable() and " " not in value else repr(value)


def wants_colors(out: TextIO) -> bool:
    """Return whether to color text: on a terminal, unless NO_COLOR is set (https://no-color.org)."""
    return out.isatty() and not os.environ.get("NO_COLOR")


def configure(*, as_json: bool, process: str, keys: Callable[[], Mapping[str, Any]] = dict) -> None:
    """Configure logging of the process: structlog and the standard library write the same format to stderr.

    `keys`: returns the fields of what is being worked on, which a line gets unless it has them."""

    def add_process(_: object, __: str, entry: EventDict) -> EventDict:
        entry["process"] = process  # a context variable would be missing in callbacks of connections and in threads
        request_id = REQUEST_ID.get(None)
        return {**({} if request_id is None else {"request_id": request_id}), **keys(), **entry}

    shared: list[Processor] = [
        add_process,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer = structlog.processors.JSONRenderer() if as_json else TextRenderer(colors=wants_colors(sys.stderr))
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
        )
    )
    logging.basicConfig(handlers=[handler], level=logging.INFO, force=True)
    for noisy in ("arq", "httpx", "httpx2", "openai", "anthropic", "uvicorn.access"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


class Once:
    """Detects repetitions, so that a condition is logged only once. Holds the REMEMBERED keys that were added last."""

    def __init__(self) -> None:
        self._keys: dict[Hashable, None] = {}

    def add(self, *keys: Hashable) -> bool:
        """Add keys. Returns whether the first of them is new."""
        new = keys[0] not in self._keys
        for key in keys:
            self._keys.pop(key, None)
            self._keys[key] = None
        while len(self._keys) > REMEMBERED:
            del self._keys[next(iter(self._keys))]
        return new
