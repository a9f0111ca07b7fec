"""What lives in this process: how many objects of each of the product's classes, and who still bears a name."""

from __future__ import annotations

import gc
from collections import Counter

OURS = ("gateway.", "shared.", "worker.")


def _living() -> list[object]:
    """All that the garbage collector knows of, also what a gateway had it pass over for good."""
    gc.unfreeze()
    gc.collect()
    return gc.get_objects()


def census() -> Counter[str]:
    """How many objects there are of each class of the product that the garbage collector knows of."""
    kinds = (_kind(thing) for thing in _living())
    return Counter(kind for kind in kinds if kind.startswith(OURS))


def bearers(name: str) -> list[str]:
    """The types of all objects that refer to a text or to bytes with this in it: a container, or an object's field. The
    argument itself does not count."""
    things = (thing for thing in _living() if any(_bears(held, name) for held in gc.get_referents(thing)))
    return [_kind(thing) for thing in things]


def _kind(thing: object) -> str:
    return f"{type(thing).__module__}.{type(thing).__qualname__}"


def _bears(held: object, name: str) -> bool:
    if held is name:
        return False
    return (isinstance(held, str) and name in held) or (isinstance(held, bytes) and name.encode() in held)
