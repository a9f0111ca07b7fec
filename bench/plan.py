"""The plan of a run: which peers, how often, for how long."""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.baseline import Before
from bench.ledger import InvalidRun
from bench.load import EVENT
from bench.machine import Cores
from bench.peers.stage import Peer, PeerMissing, Stage
from bench.report import Row

Figures = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Plan:
    """`quick`: the short form that shows that everything works, not how fast it is. `only`: keys of the peers wanted,
    empty for all. `before`: another commit to measure beside today's files."""

    quick: bool
    repeats: int
    cores: Cores
    only: frozenset[str] = frozenset()
    before: Before | None = None

    def choose(self, full: float, quick: float) -> float:
        return quick if self.quick else full

    def compare(self, peers: Sequence[Peer], once: Callable[[Peer], Figures]) -> list[Row]:
        """Run all peers in turn, once per repeat, so that noise of the machine affects all of them."""
        both = peers if self.before is None else self.before.beside(peers)
        wanted = [peer for peer in both if not self.only or peer.key in self.only]
        rows = {peer.name: Row(peer.name) for peer in wanted}
        missing: set[str] = set()
        for repeat in range(self.repeats):
            for peer in wanted:
                if peer.name not in missing and not self._add(rows[peer.name], peer, once, repeat):
                    missing.add(peer.name)
        return list(rows.values())

    def _add(self, row: Row, peer: Peer, once: Callable[[Peer], Figures], repeat: int) -> bool:
        """Run a peer once. Returns whether it is installed."""
        try:
            figures = dict(once(peer))
        except PeerMissing as missing:
            row.notes.append(f"left out: {missing}")
            return False
        except InvalidRun as reason:
            row.notes.append(f"run {repeat + 1} is void: {reason}")
            return True
        row.runs.append(figures)
        shown = " ".join(f"{key}={value:.4g}" for key, value in figures.items())
        sys.stderr.write(f"  {peer.name} #{repeat + 1}: {shown}\n")
        return True

    @contextlib.contextmanager
    def stage(self, sessions: int, *, batch: int = 1, event: bytes = EVENT) -> Iterator[Stage]:
        """A temporary folder for one run. Processes started in it are stopped at the end."""
        with (
            tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as folder,
            Stage(Path(folder), self.cores, sessions, batch, event) as stage,
        ):
            yield stage
