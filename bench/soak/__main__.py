"""`scripts/soak`: run jobs, viewers and sessions for some minutes, and check that gateway and worker do not leak.

Prints a table of what they held, and ends with 1 when they grew, or when an event or a job was lost. Linux only.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from pathlib import Path

from bench import machine
from bench.soak.soak import Plan, soak


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=None, help="decides every choice; drawn and printed when left out")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed  # noqa: S311 - chance, not secrecy
    plan = Plan(seed, given.minutes * 60)
    print(f"scripts/soak --minutes {given.minutes:g} --seed {plan.seed}", flush=True)
    facts = machine.facts()
    folder = Path(tempfile.mkdtemp(prefix="soak-"))
    report = asyncio.run(soak(plan, folder))
    print(f"\n{report.text()}\n\nTaken on {facts}.\nlogs of the processes: {folder}")
    return 0 if report.passed else 1


if __name__ == "__main__":
    sys.exit(main())
