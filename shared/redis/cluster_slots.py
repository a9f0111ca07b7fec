"""Hash slots of a Redis Cluster: which master owns which slot, as nodes report it.

See https://redis.io/docs/latest/operate/oss_and_stack/reference/cluster-spec/.
"""

from __future__ import annotations

from binascii import crc_hqx
from collections.abc import Sequence
from typing import Any, NamedTuple

SLOTS = 16_384
SETTLED_ELSEWHERE = 0  # an epoch lower than that of any report


class SlotRange(NamedTuple):
    """The slots from `first` to `last` belong to the master at `place`, since the configuration epoch `epoch`."""

    first: int
    last: int
    place: str
    epoch: int


class Redirect(NamedTuple):
    """Why a node refused a command of a slot: `code` is MOVED, ASK or TRYAGAIN. `place` is where to send the command;
    empty for TRYAGAIN."""

    code: str
    slot: int
    place: str


class SlotMap:
    """The owner of each slot: `owners` has its place, empty while none is known. A report of an older configuration
    than the known one is left out, slot by slot: a node that was frozen or partitioned still reports itself as the
    owner of what it lost."""

    def __init__(self) -> None:
        self.owners = [""] * SLOTS
        self._epochs = [SETTLED_ELSEWHERE] * SLOTS
        self._reported: Sequence[SlotRange] = ()
        self._places: list[str] | None = None

    @property
    def places(self) -> list[str]:
        """The masters that own slots. Kept until an owner changes: all slots are looked at, and it is read often."""
        if self._places is None:
            self._places = sorted({*self.owners} - {""})
        return self._places

    @property
    def uncovered(self) -> int:
        """The number of slots without an owner."""
        return self.owners.count("")

    def report(self, ranges: Sequence[SlotRange]) -> set[int]:
        """Take what a node reports. Returns the slots whose owner changed."""
        if ranges == self._reported:
            return set()
        self._reported = ranges
        moved = set()
        for first, last, place, epoch in ranges:
            for slot in range(first, last + 1):
                if epoch >= self._epochs[slot]:
                    self._epochs[slot] = epoch
                    if self.owners[slot] != place:
                        self.owners[slot] = place
                        moved.add(slot)
        if moved:
            self._places = None
        return moved

    def move(self, slot: int, place: str) -> bool:
        """Take a redirection of one slot, which the next report may change. Returns whether the owner changed."""
        if self.owners[slot] == place:
            return False
        self._reported = ()
        self._epochs[slot] = SETTLED_ELSEWHERE
        self.owners[slot] = place
        self._places = None
        return True


def slot_of(key: str | bytes) -> int:
    """Return the slot of a key: CRC16 (XMODEM) of its hash tag, or of the whole key without one."""
    name = key.encode() if isinstance(key, str) else key
    start = name.find(b"{") + 1
    end = name.find(b"}", start) if start else -1
    return crc_hqx(name[start:end] if end > start else name, 0) % SLOTS


def ranges_of(slots: Sequence[Sequence[Any]], nodes: bytes, asked: str) -> list[SlotRange]:
    """Parse the replies to CLUSTER SLOTS and CLUSTER NODES of the node at the place `asked`."""
    epochs = {line.split()[0]: int(line.split()[6]) for line in nodes.splitlines() if line}
    ranges = []
    for first, last, (host, port, node_id, *_), *_ in slots:
        place = place_of(host or b"", port, asked)
        ranges.append(SlotRange(first, last, place, epochs.get(node_id, SETTLED_ELSEWHERE)))
    return sorted(ranges)


def redirect_of(error: Exception, asked: str = "") -> Redirect | None:
    """Parse a node's refusal; None for any other error."""
    code, _, rest = str(error).partition(" ")
    if code == "TRYAGAIN":
        return Redirect(code, -1, "")
    if code not in ("MOVED", "ASK"):
        return None
    slot, _, place = rest.partition(" ")
    host, _, port = place.rpartition(":")
    return Redirect(code, int(slot), place_of(host.encode(), int(port), asked))


def place_of(host: bytes, port: int, asked: str) -> str:
    """Return `host:port`. A node that does not know its own name reports none: then it is that of the connection."""
    name = host.decode() if host not in (b"", b"?") else asked.rpartition(":")[0]
    return f"[{name}]:{port}" if ":" in name and not name.startswith("[") else f"{name}:{port}"
