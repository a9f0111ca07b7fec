"""Tables of results as Markdown, and their places in a document. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from bench.figures import median, ratio, short, spread

WIDE_SPREAD = 0.15


@dataclass(frozen=True, slots=True)
class Column:
    """One figure of a scenario. `key` names it in a run's figures; with `against`, a second column says how many times
    Holdfast's the figure is."""

    key: str
    title: str
    against: bool = False


@dataclass(slots=True)
class Row:
    """One peer's runs. `runs` holds the figures of each repeat that counts; `notes` says why others do not, or why
    there are none."""

    name: str
    runs: list[dict[str, float]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def figure(self, key: str) -> float | None:
        values = [run[key] for run in self.runs if key in run]
        return median(values) if values else None

    def cell(self, key: str) -> str:
        """The median; `±` where the repeats differ much."""
        values = [run[key] for run in self.runs if key in run]
        if not values:
            return "–"
        wide = spread(values)
        return short(median(values)) + (f" ±{wide:.0%}" if wide > WIDE_SPREAD else "")


@dataclass(slots=True)
class Table:
    """The result of one scenario. The first row is what the others are compared with."""

    name: str
    title: str
    method: str
    columns: Sequence[Column]
    rows: list[Row] = field(default_factory=list)

    def markdown(self) -> str:
        base = self.rows[0] if self.rows else Row("")
        head = ["", *(title for column in self.columns for title in _titles(column))]
        lines = [_line(head), _line(["---", *("---:" for _ in head[1:])])]
        lines += [_line([row.name, *_cells(row, base, self.columns)]) for row in self.rows]
        notes = [f"- {row.name}: {note}" for row in self.rows for note in row.notes]
        return "\n".join(
            [f"**{self.name}** {self.title}", "", *lines, "", self.method, *(["", *notes] if notes else [])]
        )


def _titles(column: Column) -> list[str]:
    return [column.title, "×"] if column.against else [column.title]


def _cells(row: Row, base: Row, columns: Sequence[Column]) -> list[str]:
    cells: list[str] = []
    for column in columns:
        cells.append(row.cell(column.key))
        if column.against:
            cells.append(_times(row.figure(column.key), base.figure(column.key)))
    return cells


def _times(figure: float | None, base: float | None) -> str:
    times = None if figure is None or base is None else ratio(figure, base)
    return "–" if times is None else short(times)


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def place(document: str, name: str, text: str) -> str:
    """The document with the text between its markers `<!-- bench:name -->` and `<!-- /bench:name -->`; where it has
    none, both are added at its end."""
    begin, end = f"<!-- bench:{name} -->", f"<!-- /bench:{name} -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    before, found, rest = document.partition(begin)
    if not found:
        return f"{document.rstrip()}\n\n{section}\n".lstrip()
    _, closed, after = rest.partition(end)
    if not closed:
        raise ValueError(f"{begin} is never closed")
    return before + section + after
