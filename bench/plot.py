"""The tables of docs/performance.md as pictures: `python -m bench.plot`.

The data come from the tables in the document, so that charts and tables agree."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.figures import short
from bench.processes import ROOT

DOCUMENT = ROOT / "docs" / "performance.md"
FOLDER = ROOT / "docs" / "plots"
SHOWN = {
    "L1": ("server CPU µs an event", "p99 ms"),
    "L2": ("deliveries/s",),
    "L3": ("deliveries/s",),
    "L4": ("replay: slowest ms", "cold: events/s"),
    "L5": ("all caught up, ms", "live viewers' p99 ms"),
    "L6": ("KiB a viewer", "connects/s"),
    "W1": ("Redis CPU µs a token", "tokens a worker CPU s"),
    "W2": ("p50 ms", "p99 ms"),
    "H1": ("events/s",),
}
OURS, THEIRS = "#0b7a75", "#b8bfc6"
WIDE = 30  # times the smallest: then the axis is logarithmic


class Bars(NamedTuple):
    """One column of a table, without those who have no figure there."""

    title: str
    names: list[str]
    figures: list[float]


def main() -> int:
    try:
        plt = importlib.import_module("matplotlib.pyplot")  # from bench/requirements.txt, which nothing else needs
    except ImportError:
        sys.stderr.write(
            "bench: no matplotlib (pip install -r bench/requirements.txt): the plots are left as they are\n"
        )
        return 1
    plt.rcParams.update({"svg.hashsalt": "holdfast", "svg.fonttype": "none", "font.size": 9})
    FOLDER.mkdir(exist_ok=True)
    document = DOCUMENT.read_text("utf-8")
    for name, titles in SHOWN.items():
        bars = columns(document, name, titles)
        if bars:
            draw(plt, bars, FOLDER / f"{name.lower()}.svg")
    return 0


def columns(document: str, name: str, titles: Sequence[str]) -> list[Bars]:
    """The columns of the table that stands between the scenario's markers."""
    _, _, rest = document.partition(f"<!-- bench:{name} -->")
    table, _, _ = rest.partition(f"<!-- /bench:{name} -->")
    rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line.startswith("|")
    ]
    if not rows:
        return []
    head, _, *body = rows
    return [_column(head, body, title) for title in titles]


def _column(head: Sequence[str], body: Sequence[Sequence[str]], title: str) -> Bars:
    at = head.index(title)
    found = [(row[0], row[at].partition(" ")[0].replace(",", "")) for row in body]
    known = [(name, float(text)) for name, text in found if text != "–"]
    return Bars(title, [name for name, _ in known], [figure for _, figure in known])


def draw(plt: Any, bars: Sequence[Bars], path: Path) -> None:
    height = 0.7 + 0.3 * max(len(one.names) for one in bars)
    figure, axes = plt.subplots(1, len(bars), figsize=(4.6 * len(bars), height), squeeze=False, layout="constrained")
    for axis, one in zip(axes[0], bars, strict=True):
        colours = [OURS if at == 0 or name.startswith("Holdfast") else THEIRS for at, name in enumerate(one.names)]
        drawn = axis.barh(one.names, one.figures, color=colours)
        axis.bar_label(drawn, labels=[f" {short(figure)}" for figure in one.figures])
        axis.invert_yaxis()
        wide = max(one.figures) > WIDE * min(one.figures)
        axis.set_xscale("log" if wide else "linear")
        axis.set_title(f"{one.title} (logarithmic)" if wide else one.title, loc="left", fontsize=9)
        axis.margins(x=0.25)
        axis.xaxis.set_visible(False)
        axis.spines[["top", "right", "bottom"]].set_visible(False)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    sys.exit(main())
