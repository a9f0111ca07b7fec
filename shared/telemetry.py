"""Configure log lines: text on a terminal, JSON elsewhere. They name sessions and jobs, never their content."""

from __future__ import annotations

import logging
import sys

import structlog


def configure(*, as_json: bool, process: str) -> None:
    """Configure logging of the process: structlog and the standard library write the same format to stderr."""

    def add_process(_: object, __: str, line: structlog.types.EventDict) -> structlog.types.EventDict:
        line["process"] = process  # a context variable would be missing in callbacks of connections and in threads
        return line

    shared: list[structlog.types.Processor] = [
        add_process,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    renderer: structlog.types.Processor = (
        structlog.processors.JSONRenderer()
        if as_json
        else structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(),
            exception_formatter=structlog.dev.plain_traceback,  # the others show local variables: user content
        )
    )
    if not as_json:
        shared.pop()  # the console renderer formats exceptions itself
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
