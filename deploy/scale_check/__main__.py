# ruff: noqa: T201 - a script that prints
"""The command: on a stack of the check's own, or on the deployment at an address."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import sys

from deploy.scale_check import GATEWAYS, WORKERS, CheckFailed
from deploy.scale_check.check import ScaleCheck
from deploy.scale_check.door import Door
from deploy.scale_check.stack import own_stack, running_stack


def check_own() -> bool:
    """Bring a stack up, check, remove it. Whether everything held."""
    port = free_port()
    stack, held = own_stack(port), False
    try:
        print(f"building and starting {WORKERS} workers, {GATEWAYS} gateways at 127.0.0.1:{port}", flush=True)
        stack.up()
        held = ScaleCheck(stack, Door(f"http://127.0.0.1:{port}")).run()
    except CheckFailed as error:
        print(f"FAILED {error}")
    finally:
        with contextlib.suppress(CheckFailed):
            if not held:
                print(stack.logs())
            stack.down()
    return held


def check_running(url: str) -> bool:
    """Check the deployment at this address, and leave it as it then is. Whether everything held."""
    try:
        return ScaleCheck(running_stack(), Door(url, os.environ.get("HOLDFAST_TOKEN"))).run()
    except CheckFailed as error:
        print(f"FAILED {error}")
        return False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Exits 1 when something did not hold."""
    parser = argparse.ArgumentParser(prog="deploy/scale-check")
    parser.add_argument("url", nargs="?", help="of the running deployment, such as https://localhost; HOLDFAST_TOKEN")
    url = parser.parse_args().url
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    held = check_own() if url is None else check_running(url)
    print("\nheld" if held else "\ndid not hold")
    sys.exit(not held)


if __name__ == "__main__":
    main()
