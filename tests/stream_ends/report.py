"""The tables of docs/dialects/stream-ends.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tests.stream_ends.applications import EVENT
from tests.stream_ends.clients import BROWSER_CLIENTS, NODE_CLIENTS
from tests.stream_ends.dialects import DIALECTS
from tests.stream_ends.wire import Seen

BEGIN, END = "<!-- stream-ends {}: begin -->", "<!-- stream-ends {}: end -->"
TITLES = {
    "finished": "The job has ended: curl's exit code",
    "drained": "The gateway stops in the middle: curl's exit code",
    "killed": "The gateway is killed in the middle: curl's exit code",
    "slow": "The viewer accepts nothing: curl's exit code",
    "nobody": "Reconnecting while no gateway runs",
    "resumed": "Reconnecting when a gateway runs again: status and curl's exit code",
}
_NAMES = [dialect.name for dialect in DIALECTS]


def wire(measured: Mapping[str, Seen]) -> str:
    """Return the tables of the dialects."""
    return "\n\n".join(_table(title, "dialect", event, _NAMES, measured) for event, title in TITLES.items())


def clients(measured: Mapping[str, Seen]) -> str:
    """Return the table of the clients."""
    names = [*BROWSER_CLIENTS, *NODE_CLIENTS]
    return _table("The application, when its gateway is replaced", "client", EVENT, names, measured)


def _table(title: str, first: str, event: str, names: Sequence[str], measured: Mapping[str, Seen]) -> str:
    """Return one table, without rows that nothing was measured for."""
    rows = [[name, *(seen.cells.get((event, name), "–") for seen in measured.values())] for name in names]
    lines = [f"| {' | '.join(row)} |" for row in rows if set(row[1:]) != {"–"}]
    head = f"| {first} | {' | '.join(measured)} |\n|{' --- |' * (len(measured) + 1)}"
    return "\n".join([f"### {title}\n", head, *lines])


def place(document: str, part: str, text: str) -> str:
    """Return the document with this text between the markers of a part. Raises ValueError when it has none."""
    begin, end = BEGIN.format(part), END.format(part)
    before, began, rest = document.partition(begin)
    _, ended, after = rest.partition(end)
    if not began or not ended:
        raise ValueError(f"no place for the tables: {begin} … {end}")
    return f"{before}{begin}\n{text}\n{end}{after}"
