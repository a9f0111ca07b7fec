"""The real AI SDK accepts every golden file, and builds from it what the events that count say."""

from __future__ import annotations

import json
import subprocess
from typing import Any

import orjson
import pytest
from holdfast.shared.log.discards import Discards

from tests.support.ai_sdk import shown, shown_of
from tests.support.node import FOLDER, NODE
from tests.support.wire import DATA, LOGS, log

FAILING = {"failed": "Try later", "deleted": "The session was deleted"}
# What these show is more, or other, than their events say one by one.
OTHER = ("tools", "data", "unknown", "sections", "fallback", "question")


def read(version: int) -> dict[str, dict[str, Any]]:
    """Return what the SDK makes of the complete files of a version, by the name of the log."""
    kind = "resumed" if version == 6 else "workflow"
    resumed = {name: f"{name}.{kind}.txt" for name in LOGS if (DATA / "ai_sdk" / f"{name}.{kind}.txt").exists()}
    files = {name: f"{name}.v{version}.txt" for name in LOGS} | resumed
    paths = [str(DATA / "ai_sdk" / file) for file in files.values()]
    command = [NODE, "ai-sdk-read.mjs", f"v{version}", *paths]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True, timeout=60)
    return dict(zip(files, map(json.loads, done.stdout.splitlines()), strict=True))


def kept(name: str) -> list[dict[str, Any]]:
    discards, entries = Discards(), log(name)
    discards.learn(entries)
    return [orjson.loads(entry.body) for entry in discards.kept(entries)]


@pytest.mark.parametrize("version", [6, 7])
def test_the_sdk_reads_every_golden_file(version: int) -> None:
    for name, found in read(version).items():
        assert found["errors"] == ([FAILING[name]] if name in FAILING else []), name
        assert found["message"]["id"] == "j1"
        assert found["message"]["metadata"]["jobId"] == "j1"
        if name not in OTHER:
            assert shown(found["message"]) == expected(name), name


def expected(name: str) -> dict[str, Any]:
    found = shown_of(kept(name))
    if name == "failed":  # the call was cut off while its input was streaming
        found["tools"] = {"c1": ("tool-search", "input-streaming", {}, None, None)}
    return found


@pytest.mark.parametrize("version", [6, 7])
def test_the_sdk_shows_tools_data_and_questions(version: int) -> None:
    found = {name: one["message"] for name, one in read(version).items()}
    tools = shown(found["tools"])["tools"]
    assert tools["c1"] == ("tool-search", "output-error", {"q": "tea"}, None, "timed out")
    assert tools["c2"] == ("tool-weather", "output-available", {"city": "Rome"}, {"degrees": 21}, None)
    assert tools["c9"][:2] == ("tool-unknown", "output-available")
    assert shown(found["question"])["data"][0] == shown_of(kept("question")[:4])["data"][0]
    kinds = [part["type"] for part in found["data"]["parts"]]
    assert kinds == ["step-start", "data-chart", "source-url", "source-document", "file", "data-source-url"]
    assert [part["data"]["state"] for part in found["sections"]["parts"] if part["type"] == "data-section"] == [
        "ended",
        "ended",
    ]
    assert found["usage"]["metadata"]["usage"] == {"inputTokens": 11, "outputTokens": 7, "totalTokens": 18}
    usage = found["takeover-in-the-middle"]["metadata"].get("usage")
    assert usage == {"inputTokens": 3, "outputTokens": 4, "totalTokens": 7}
