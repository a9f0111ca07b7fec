"""Callbacks that do not keep alive whom they call."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec
from weakref import WeakMethod

Parameters = ParamSpec("Parameters")


def weakly(method: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """A bound method for a part of its own object: without a circle the two are freed at once, and not when the garbage
    collector comes by. Does nothing once the object is gone."""
    reference = WeakMethod(method)

    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        found = reference()
        if found is not None:
            found(*args, **kwargs)

    return call
