from __future__ import annotations

import pytest

from bench.report import Column, Row, Table, place

COLUMNS = (Column("cpu_us", "CPU µs", against=True), Column("p99_ms", "p99 ms"))


def rows(*rows: Row) -> list[str]:
    table = Table("L1", "many sessions", "how", COLUMNS, list(rows))
    return [line for line in table.markdown().splitlines() if line.startswith("|")]


def test_a_cell_is_the_median_of_the_repeats() -> None:
    row = Row("Holdfast", [{"cpu_us": 20.0}, {"cpu_us": 22.0}, {"cpu_us": 21.0}])
    assert row.cell("cpu_us") == "21.0"


def test_repeats_that_differ_much_show_by_how_much() -> None:
    row = Row("Holdfast", [{"cpu_us": 20.0}, {"cpu_us": 10.0}, {"cpu_us": 30.0}])
    assert row.cell("cpu_us") == "20.0 ±50%"


def test_ratios_are_to_the_first_row() -> None:
    lines = rows(Row("Holdfast", [{"cpu_us": 20.0, "p99_ms": 1.0}]), Row("naive", [{"cpu_us": 50.0, "p99_ms": 400.0}]))
    assert lines[0] == "|  | CPU µs | × | p99 ms |"
    assert lines[2:] == ["| Holdfast | 20.0 | 1.00 | 1.00 |", "| naive | 50.0 | 2.50 | 400 |"]


def test_a_peer_without_a_run_that_counts_stays_in_the_table_and_says_why() -> None:
    table = Table("L1", "many sessions", "how", COLUMNS, [Row("Holdfast", [{"cpu_us": 20.0}])])
    table.rows.append(Row("nchan", notes=["left out: no nginx"]))
    text = table.markdown()
    assert "| nchan | – | – | – |" in text
    assert "- nchan: left out: no nginx" in text


def test_a_table_replaces_what_stood_between_its_markers() -> None:
    document = "# Performance\n\n<!-- bench:L1 -->\nold\n<!-- /bench:L1 -->\n\nMore.\n"
    placed = place(document, "L1", "new\n")
    assert placed == "# Performance\n\n<!-- bench:L1 -->\nnew\n<!-- /bench:L1 -->\n\nMore.\n"
    assert place(placed, "L1", "new") == placed


def test_a_table_without_markers_goes_to_the_end() -> None:
    assert place("# Performance\n", "L2", "new").endswith(
        "# Performance\n\n<!-- bench:L2 -->\nnew\n<!-- /bench:L2 -->\n"
    )


def test_a_marker_that_is_never_closed_is_not_guessed_at() -> None:
    with pytest.raises(ValueError, match="never closed"):
        place("<!-- bench:L1 -->\nold\n", "L1", "new")
