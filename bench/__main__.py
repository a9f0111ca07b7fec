"""`python -m bench [SCENARIO…]`: run scenarios and print their tables. docs/performance.md explains them."""

from __future__ import annotations

import argparse
import importlib
import resource
import sys
from contextlib import AbstractContextManager, nullcontext

from bench import machine, plot
from bench.baseline import Before, RevisionMissing, checkout
from bench.plan import Plan
from bench.plot import DOCUMENT
from bench.processes import CACHE, ROOT
from bench.programs import CompilerMissing
from bench.report import Table, place

SCENARIOS = ("L1", "L2", "L3", "L4", "L5", "L6", "W1", "W2", "H1", "B1", "P1", "C1")
REPEATS = 3


def main() -> int:
    arguments = _arguments()
    _open_files()
    facts = machine.facts()
    print(f"{facts}{'; the short form: its figures say nothing' if arguments.quick else ''}\n", flush=True)
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        with before(arguments.before) as found:
            plan = Plan(arguments.quick, arguments.repeats, machine.cores(), frozenset(arguments.peers), found)
            return run_all(arguments, plan, facts)
    except RevisionMissing as missing:
        sys.exit(f"bench: {missing}")


def before(revision: str | None) -> AbstractContextManager[Before | None]:
    return nullcontext() if revision is None else checkout(revision)


def run_all(arguments: argparse.Namespace, plan: Plan, facts: str) -> int:
    """Run the scenarios and print their tables. Returns 1 when the product has no valid run in one of them."""
    voids = 0
    for name in arguments.scenarios or SCENARIOS:
        try:
            table = run(name, plan)
        except CompilerMissing as missing:
            sys.exit(f"bench: {missing}")
        voids += sum(not row.runs for row in table.rows[:1])
        print(table.markdown(), end="\n\n", flush=True)
        if arguments.write:
            write(table, facts)
    if arguments.write:
        plot.main()
    return 1 if voids else 0


def run(name: str, plan: Plan) -> Table:
    sys.stderr.write(f"{name}\n")
    table: Table = importlib.import_module(f"bench.scenarios.{name.lower()}").run(plan)
    return table


def write(table: Table, facts: str) -> None:
    """Write the table into the document, with a description of the machine."""
    text = DOCUMENT.read_text() if DOCUMENT.exists() else ""
    DOCUMENT.write_text(place(text, table.name, f"{table.markdown()}\n\nTaken on {facts}."))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(SCENARIOS)}; all by default")
    parser.add_argument("--quick", action="store_true", help="a short form that shows that everything works")
    parser.add_argument("--repeats", type=int, default=None, help=f"runs of each peer ({REPEATS}; 1 with --quick)")
    parser.add_argument(
        "--peers", nargs="*", default=[], metavar="KEY", help="only these peers, such as holdfast nchan"
    )
    parser.add_argument("--before", metavar="COMMIT", help="also measure the product at this commit, in L1 to L6")
    parser.add_argument("--write", action="store_true", help=f"put the tables into {DOCUMENT.relative_to(ROOT)}")
    arguments = parser.parse_args()
    unknown = sorted(set(arguments.scenarios) - set(SCENARIOS))
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    arguments.repeats = arguments.repeats or (1 if arguments.quick else REPEATS)
    return arguments


def _open_files() -> None:
    """Raise the limit of open files, here and for the servers that inherit it: each viewer is an open file."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    sys.exit(main())
