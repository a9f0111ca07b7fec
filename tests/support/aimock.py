"""A provider that is none: aimock, which speaks OpenAI's and Anthropic's HTTP and says what a test tells it to."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from tests.support.node import FOLDER, NODE
from tests.support.ports import free_port
from tests.support.process import Process, spawn, until

COMMAND = FOLDER / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"

Fixture = dict[str, Any]


class Aimock(Process):
    """A running aimock. `fixtures` say what it answers to what; with `-strict`, a request without one is a 503."""

    def __init__(self, folder: Path) -> None:
        assert COMMAND.exists(), "aimock is not installed: scripts/test installs it, or `npm ci` in tests/node"
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        fixtures = folder / "fixtures.json"
        fixtures.write_text('{"fixtures": [{"match": {"userMessage": "ping"}, "response": {"content": "pong"}}]}')
        command = [
            NODE,
            str(COMMAND),
            "--port",
            str(port),
            "--fixtures",
            str(fixtures),
            "--strict",
            "--log-level",
            "warn",
        ]
        log = folder / "aimock.log"
        super().__init__(spawn(command, env={}, log=log), log)

    async def answer(self, *fixtures: Fixture) -> None:
        """Forget everything, then answer as these fixtures say."""
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False) as client:
            await until(lambda: self._answers(client), describe=self.describe)
            (await client.post("/__aimock/reset")).raise_for_status()
            (await client.post("/__aimock/fixtures", json={"fixtures": list(fixtures)})).raise_for_status()

    async def heard(self) -> list[dict[str, Any]]:
        """Its journal since the last `answer()`: an entry for each request, with `path`, `headers` and `body`."""
        async with httpx2.AsyncClient(base_url=self.url, trust_env=False) as client:
            entries: list[dict[str, Any]] = (await client.get("/__aimock/journal")).json()
            return entries

    async def _answers(self, client: httpx2.AsyncClient) -> bool:
        assert self.running, self.describe()
        try:
            return (await client.get("/__aimock/health")).status_code == 200
        except httpx2.TransportError:
            return False


@contextlib.contextmanager
def aimock_in(folder: Path) -> Iterator[Aimock]:
    """An aimock until the block ends. `answer()` waits until it is up."""
    aimock = Aimock(folder)
    try:
        yield aimock
    finally:
        aimock.kill()


def says(content: str, to: str, **more: Any) -> Fixture:
    """The provider answers `content` to a user's message that contains `to`. `more` goes beside the match."""
    return {"match": {"userMessage": to}, "response": {"content": content}, **more}


def rounds(to: str, *responses: dict[str, Any], **more: Any) -> list[Fixture]:
    """The provider's turns of one tool loop. Each but the last has `toolCalls` with ids, the last of which leads on."""
    matches: list[dict[str, Any]] = [{"userMessage": to, "hasToolResult": False}]
    matches += [{"toolCallId": response["toolCalls"][-1]["id"]} for response in responses[:-1]]
    return [{"match": match, "response": response, **more} for match, response in zip(matches, responses, strict=True)]


def call(call_id: str, tool: str, /, **arguments: Any) -> dict[str, Any]:
    """One entry of `toolCalls`."""
    return {"id": call_id, "name": tool, "arguments": arguments}
