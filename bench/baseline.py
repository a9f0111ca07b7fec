"""The gateway of another commit as a further peer, measured in the same run under the same load."""

from __future__ import annotations

import contextlib
import io
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.load import Target
from bench.peers.stage import Peer, Stage
from bench.processes import ROOT
from tests.support.layout import lay_out

KEY = "before"


class RevisionMissing(Exception):
    """The commit does not exist."""


@dataclass(frozen=True, slots=True)
class Before:
    """A commit and the folder with its files."""

    revision: str
    tree: Path

    def beside(self, peers: Sequence[Peer]) -> list[Peer]:
        """Return the peers, each variant of the product followed by the same variant at the other commit."""
        return [each for peer in peers for each in ([peer, self._twin(peer)] if peer.key == "holdfast" else [peer])]

    def _twin(self, peer: Peer) -> Peer:
        def start(stage: Stage) -> Target:
            stage.tree = self.tree
            return peer.start(stage)

        return replace(peer, key=KEY, name=f"{peer.name} at {self.revision}", start=start)


@contextlib.contextmanager
def checkout(revision: str) -> Iterator[Before]:
    """Check out the files of a commit into a temporary folder. Raises RevisionMissing if it does not exist."""
    with tempfile.TemporaryDirectory(prefix="bench-before-") as folder:
        git = shutil.which("git") or "git"
        archive = subprocess.run([git, "archive", revision], cwd=ROOT, capture_output=True, check=False)
        if archive.returncode:
            raise RevisionMissing(f"git has no commit {revision}: {archive.stderr.decode().strip()}")
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        lay_out(Path(folder))
        yield Before(revision, Path(folder))
