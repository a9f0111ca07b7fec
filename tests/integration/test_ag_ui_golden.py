"""AG-UI's real client, with its checks of the events, accepts every golden file."""

from __future__ import annotations

import json
import subprocess

from holdfast.shared.log.discards import Discards

from tests.support.ag_ui import shown, shown_of
from tests.support.ag_ui_golden import DATA, LOGS, log
from tests.support.node import FOLDER, NODE

FAILING = {
    "cancelled": "Cancelled by user",
    "cancelled-while-queued": "Cancelled by superseded",
    "deleted": "The session was deleted",
    "failed": "Try later",
}
# What these show is more, or other, than their events say one by one.
OTHER = ("tools", "failed", "several-agents", "question", "unknown")


def test_the_client_reads_every_golden_file() -> None:
    files = sorted((DATA / "ag_ui").glob("*.sse"))
    command = [NODE, "ag-ui-read.mjs", *map(str, files)]
    done = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True, check=True, timeout=60)
    found = dict(zip((file.name for file in files), map(json.loads, done.stdout.splitlines()), strict=True))
    for name, state in found.items():
        assert state["failed"] is None, (name, state["failed"])
        assert state["error"] == FAILING.get(name.removesuffix(".sse")), name
    for name in LOGS:
        if name not in OTHER:
            discards, entries = Discards(), log(name)
            discards.learn(entries)
            kept = [json.loads(entry.body) for entry in discards.kept(entries)]
            assert shown(found[f"{name}.sse"]) == shown_of(kept), name
