"""What the kit has to be told of a server. Derive from Adapter in a file of your own and give that file to the kit."""

from __future__ import annotations

import importlib.util
import inspect
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from tests.support.sse import Frame


class NotOffered(Exception):
    """The server has no such thing, or the adapter cannot reach it: what asks for it is left out of the score."""


class AdapterInvalid(Exception):
    """The file holds no adapter, or more than one."""


@dataclass(frozen=True, slots=True)
class Job:
    """A job that was started. `path`: where its events are read, below every base URL. `exact`: where they come one by
    one, if `path` may merge them for a viewer that catches up. `text`: all that it will say, where that is known."""

    id: str
    path: str
    exact: str = ""
    text: str | None = None


class Adapter:
    """Everything below `ends` is optional. An adapter that starts a server of its own does so in `__aenter__`."""

    name = "a server"
    urls: Sequence[str] = ()  # base URLs that serve the same jobs, `http://host:port`
    headers: Mapping[str, str] = MappingProxyType({})  # sent with every read, such as Authorization
    refused_with: int | None = None  # the status that the server promises for a cursor that is none
    bad_cursors: Sequence[str] = ("abc", "$", "+", ">", "-1", "1.5", "1-1-1", "9" * 400, "\u00e9", "1;2", "%00", "null")
    silence_s: float = 30  # the longest that a stream may say nothing at all; proxies cut at 60
    takeover_s: float = 15  # the longest silence of a stream whose worker was killed
    long_tokens: int = 30_000  # enough of them to fill what lies between the server and a viewer who does not read

    def __init__(self, urls: Sequence[str] = ()) -> None:
        """`urls` come from the command line; none means those of the adapter, or a server of its own."""
        self.urls = urls or self.urls

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        pass

    async def start(self, tokens: int, interval_ms: float) -> Job:
        """Start a job that says about so many pieces of text, one every so many milliseconds."""
        raise NotImplementedError

    def text(self, frame: Frame) -> str:
        """What an event adds to the job's text."""
        raise NotImplementedError

    def ends(self, frame: Frame) -> bool:
        """Whether an event is the job's last."""
        raise NotImplementedError

    def starts_over(self, frame: Frame) -> bool:
        """Whether an event tells viewers to drop the text that they have of the job."""
        return False

    def tells_of_loss(self, frame: Frame) -> bool:
        """Whether an event says that others are missing."""
        return False

    def beyond(self, cursor: str) -> str:
        """A well-formed cursor that lies behind everything the log has."""
        raise NotOffered("the adapter makes no such cursor")

    async def cancel(self, job: Job) -> None:
        """Stop a job. Repeating it is allowed."""
        raise NotOffered("no way to cancel")

    async def kill_worker(self, job: Job) -> None:
        """SIGKILL whatever runs the job; others of its kind stay."""
        raise NotOffered("the adapter cannot kill a worker")

    def trimming(self, job: Job, events: int) -> AbstractAsyncContextManager[None]:
        """The job's log is kept at its newest so many events: older ones go all the while."""
        raise NotOffered("the adapter cannot trim the log")

    def refusing(self) -> AbstractAsyncContextManager[None]:
        """The server refuses for the moment to stream, as when its log is away; afterwards it serves again."""
        raise NotOffered("the adapter cannot bring the server into this state")


def load(file: Path) -> type[Adapter]:
    """The one class derived from Adapter that the file defines. Raises AdapterInvalid."""
    spec = importlib.util.spec_from_file_location(f"conformance_adapter_{file.stem}", file)
    if spec is None or spec.loader is None or not file.is_file():
        raise AdapterInvalid(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    defined = [kind for _, kind in inspect.getmembers(module, inspect.isclass) if kind.__module__ == module.__name__]
    adapters = [kind for kind in defined if issubclass(kind, Adapter)]
    if len(adapters) != 1:
        raise AdapterInvalid(f"{file} defines {len(adapters)} adapters; it has to be one")
    return adapters[0]
