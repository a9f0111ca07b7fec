"""Open the client for a command: its errors are lines of the command, and an outage is waited out with a notice."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from holdfast.client import ClientError, StreamOptions, SyncClient
from holdfast.shared.errors import HoldfastError

PATIENCE_S = 5.0  # for a first response; somebody waits at the terminal


class GatewayError(HoldfastError):
    """The gateway refused the request or does not answer."""

    code = "gateway_error"


@contextmanager
def connected(url: str, patience_s: float = PATIENCE_S) -> Iterator[SyncClient]:
    """Open a client for the gateway at this address, with the token of HOLDFAST_TOKEN, if any.

    Raises GatewayError in place of every ClientError."""
    try:
        with SyncClient(url, token=os.environ.get("HOLDFAST_TOKEN"), patience_s=patience_s) as client:
            yield client
    except ClientError as error:
        raise GatewayError(str(error)) from None


def patiently(*, only_new: bool = False) -> StreamOptions:
    """Return the options of a stream that is followed for as long as the user wants."""
    return {"only_new": only_new, "patience_s": math.inf, "on_outage": print_outage}


def print_outage(reason: str) -> None:
    print(f"holdfast: the connection is lost ({reason}); waiting for the gateway", file=sys.stderr, flush=True)
