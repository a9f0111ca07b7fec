"""`python -m tests.conformance --adapter FILE [--url URL …] [--beside FILE …]`: how an SSE agent server holds.

Prints a score card for each server. Exits 1 when the server of --adapter fails a check. docs/conformance.md says how an
adapter is written.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from pathlib import Path

from tests.conformance.adapter import Adapter, AdapterInvalid, load
from tests.conformance.card import Card, Outcome, Result, place
from tests.conformance.catalogue import CHECKS
from tests.conformance.kit import VIEWERS, examine, title


def main() -> int:
    arguments = _arguments()
    try:
        adapters = [load(arguments.adapter)(arguments.url), *(load(file)() for file in arguments.beside)]
    except AdapterInvalid as invalid:
        sys.exit(f"conformance: {invalid}")
    cards = [asyncio.run(_examine(adapter, arguments.only, arguments.viewers)) for adapter in adapters]
    _say("\n".join(f"{card.name}: {card.score}" for card in cards))
    if arguments.write:
        arguments.write.write_text(place(arguments.write.read_text(), cards))
    return 1 if cards[0].count(Outcome.FAILED) else 0


async def _examine(adapter: Adapter, only: str, viewers: int) -> Card:
    _say(f"{adapter.name}\n")
    checks = [check for check in CHECKS if only.lower() in title(check).lower()]
    card = await examine(adapter, checks, lambda result: _say(_line(result)), viewers)
    _say("")
    return card


def _line(result: Result) -> str:
    return f"  {result.line()}"


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/conformance", description=__doc__)
    parser.add_argument(
        "--adapter", type=Path, required=True, metavar="FILE", help="what the kit is told of the server"
    )
    parser.add_argument("--url", action="append", default=[], help="a base URL of it; several for several gateways")
    parser.add_argument("--beside", type=Path, action="append", default=[], metavar="FILE", help="another, to compare")
    parser.add_argument("--only", default="", metavar="WORDS", help="only the checks whose title has these words")
    parser.add_argument(
        "--viewers", type=int, default=VIEWERS, metavar="N", help="so many in the checks in which many resume"
    )
    parser.add_argument("--write", type=Path, metavar="FILE", help="put the score cards into this document")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
