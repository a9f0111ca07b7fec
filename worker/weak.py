"""Callbacks that hold no strong reference to their object."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec
from weakref import WeakMethod

Parameters = ParamSpec("Parameters")


def weakly(method: Callable[Parameters, None]) -> Callable[Parameters, None]:
    """Wrap a bound method in a weak reference, for callbacks of parts of the method's own object.

    Without a reference cycle the two are freed at once, and not by a later garbage collection. A call does nothing once
    the object is gone."""
    reference = WeakMethod(method)

    def call(*args: Parameters.args, **kwargs: Parameters.kwargs) -> None:
        found = reference()
        if found is not None:
            found(*args, **kwargs)

    return call
