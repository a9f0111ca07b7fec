"""Several gateway processes on one port: the kernel spreads the connections over their sockets (SO_REUSEPORT).

A process has no state that another one needs, so each is a whole gateway. They are forked, and share the memory of what
was imported.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import structlog
from holdfast.shared.errors import HoldfastError

if TYPE_CHECKING:
    from collections.abc import Iterator

logger = structlog.get_logger()

# A process that exited sooner than this is started again after a pause.
STEADY_SECONDS = 5.0
PAUSE_SECONDS = 1.0
BACKLOG = 2048
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Serve = Callable[[int, int], None]
Address = tuple[str | int, ...] | tuple[int, bytes]


class PortTaken(HoldfastError):
    code = "port_taken"


def listeners(host: str, port: int) -> list[socket.socket]:
    """Return sockets of this process's own that listen on all addresses of the host. Raises PortTaken."""
    sockets = [_bound(*address, reuse_port=True) for address in _addresses(host, port)]
    for each in sockets:
        each.listen(BACKLOG)
    return sockets


def reserve(host: str, port: int) -> int:
    """Return the port to listen on, a free one for 0. Raises PortTaken while another program listens on it: with
    SO_REUSEPORT, one of the same user would silently share it."""
    for address in _addresses(host, port):
        with _bound(*address, reuse_port=False) as found:
            port = found.getsockname()[1]
    return port


def _addresses(host: str, port: int) -> list[tuple[int, Address]]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list({(family, address): None for family, _, _, _, address in found})


def _bound(family: int, address: Address, *, reuse_port: bool) -> socket.socket:
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        if reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind(address)
    except OSError as error:
        bound.close()
        raise PortTaken(f"{address[0]!s}, port {address[1]!s}: {os.strerror(error.errno or 0)}") from None
    return bound


class Processes:
    """Forks processes, starts each again that exits, and passes signals on to all of them.

    Args:
        serve: runs one process: its number from 0, and a descriptor that is readable once this process has ended.
    """

    def __init__(self, serve: Serve) -> None:
        self._serve = serve
        self._numbers: dict[int, int] = {}
        self._began: dict[int, float] = {}
        self._stopping = False
        self._lifeline, self._held = os.pipe()

    def run(self, count: int) -> None:
        """Run `count` processes until SIGTERM or SIGINT, and until they have ended. A further signal stops them at
        once."""
        for each in _SIGNALS:
            signal.signal(each, self._on_signal)
        gc.freeze()  # a collection in a process would copy the pages that it shares
        for number in range(count):
            self._start(number)
        while self._numbers:
            pid, status = os.waitpid(-1, 0)
            self._ended(pid, os.waitstatus_to_exitcode(status))

    def _on_signal(self, number: int, _: object) -> None:
        self._stopping = True
        for pid in tuple(self._numbers):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def _start(self, number: int) -> None:
        with _blocked(_SIGNALS):
            if self._stopping:
                return
            pid = os.fork()
            if pid == 0:
                self._begin(number)
            self._numbers[pid], self._began[pid] = number, time.monotonic()

    def _begin(self, number: int) -> None:
        """Run as a new process, and never return."""
        code = 1
        try:
            os.setpgrp()  # Ctrl-C is for the first process alone, which passes it on
            os.close(self._held)
            for each in _SIGNALS:
                signal.signal(each, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            self._serve(number, self._lifeline)
            code = 0
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException:
            logger.exception("a gateway process failed", number=number)
        finally:
            os._exit(code)

    def _ended(self, pid: int, code: int) -> None:
        number, lived_s = self._numbers.pop(pid), time.monotonic() - self._began.pop(pid)
        if self._stopping:
            return
        logger.warning("a gateway process ended; starting it again", number=number, exit_code=code)
        if lived_s < STEADY_SECONDS:
            time.sleep(PAUSE_SECONDS)
        self._start(number)


@contextmanager
def _blocked(signals: tuple[signal.Signals, ...]) -> Iterator[None]:
    """Hold signals back: one between the fork and its record would not reach the new process."""
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, signals)
