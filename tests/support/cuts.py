"""Cut the connections of clients of every dialect at random, and count what they lose and receive twice.

    scripts/cuts --cuts 1000 --seed 7 js "AG-UI ids"

Without names, all of them, one after the other, each with a Redis, a gateway and a worker of its own:

- js, python: the client libraries, cut at random bytes, also while they submit
- chunk numbers, AG-UI ids: plain HTTP with the cursors of WorkflowChatTransport and of AG-UI, cut at random bytes
  while workers are killed
- the others: unmodified clients, cut at random moments. What they show in the end is compared with the log

Some of the clients log each cut to stderr.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from tests.support import ag_ui_cuts, ai_sdk_cuts
from tests.support.client_cuts import cut_client, start
from tests.support.cut_counts import CutCounts
from tests.support.cut_viewers import CLIENTS
from tests.support.dialect_cuts import FOLLOWERS, cut_followers
from tests.support.process import Processes
from tests.support.redis_server import RedisServer


@dataclass(frozen=True)
class Round:
    """Where and how often a client is cut."""

    cuts: int
    seed: int
    folder: Path
    redis_url: str
    processes: Processes


Cut = Callable[[Round], Awaitable[CutCounts]]


async def _library(name: str, given: Round) -> CutCounts:
    gateway_url = await start(given.processes, given.redis_url)
    return await cut_client(CLIENTS[name], gateway_url, given.redis_url, cuts=given.cuts, seed=given.seed)


async def _chunk_numbers(given: Round) -> CutCounts:
    return await ai_sdk_cuts.play(given.cuts, given.seed, given.folder, given.redis_url)


async def _ag_ui_ids(given: Round) -> CutCounts:
    return await ag_ui_cuts.play(given.cuts, given.seed, given.folder, given.redis_url)


async def _follower(name: str, given: Round) -> CutCounts:
    gateway_url = await start(given.processes, given.redis_url)
    found = await cut_followers([name], gateway_url, given.redis_url, cuts=given.cuts, seed=given.seed)
    return found[name]


ALL: dict[str, Cut] = {
    **{name: partial(_library, name) for name in CLIENTS},
    "chunk numbers": _chunk_numbers,
    "AG-UI ids": _ag_ui_ids,
    **{name: partial(_follower, name) for name in FOLLOWERS},
}


async def run(name: str, cuts: int, seed: int) -> CutCounts:
    with tempfile.TemporaryDirectory() as folder:
        server, processes = RedisServer(Path(folder) / "redis"), Processes(Path(folder))
        server.start()
        try:
            return await ALL[name](Round(cuts, seed, Path(folder), server.url, processes))
        finally:
            processes.kill()
            server.kill()


def main() -> int:
    """Cut the chosen clients and print the table. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/cuts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(ALL))
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--seed", type=int, help="decides where to cut; drawn and printed when left out")
    chosen = parser.parse_args()
    if unknown := set(chosen.names) - set(ALL):
        parser.error(f"unknown: {', '.join(unknown)}; known: {', '.join(ALL)}")
    seed = random.randrange(10**6) if chosen.seed is None else chosen.seed
    _print(
        f"seed {seed}\n\n| client | cuts | compared | lost | doubled | wrong |\n| --- | --- | --- | --- | --- | --- |"
    )
    clean, wrong = True, list[str]()
    for name in chosen.names or ALL:
        counts = asyncio.run(run(name, chosen.cuts, seed))
        row = (name, counts.cuts, counts.items, counts.lost, counts.doubled, len(counts.wrong))
        _print(f"| {' | '.join(map(str, row))} |")
        wrong += [f"{name}: {line}" for line in counts.wrong]
        clean = clean and counts.clean
    _print("\n".join(["", *wrong[:20]]))
    return 0 if clean else 1


def _print(text: str) -> None:
    print(text, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
