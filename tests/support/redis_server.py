"""A real Redis or Valkey of a test's own, which the test may kill, freeze and start again."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from pathlib import Path

from holdfast.cli.embedded import server_binary
from holdfast.cli.tether import tethered
from tests.support.ports import free_port

START_SECONDS = 10


class RedisServer:
    """One server on a fixed 127.0.0.1 port; its data stays in `folder` over `restart()`.

    `aof`: keep an append-only file; `fsync`: always, everysec or no; `maxmemory`: bytes, 0 is unbounded; `options`:
    further configuration by its Redis name, with `_` for `-`; a tuple for several words.
    """

    def __init__(
        self, folder: Path, *, aof: bool = False, fsync: str = "everysec", maxmemory: int = 0, **options: object
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        self._options: dict[str, object] = {
            "bind": "127.0.0.1",
            "save": "",
            "appendonly": "yes" if aof else "no",
            "appendfsync": fsync,
            "maxmemory": maxmemory,
            "maxmemory-policy": "noeviction",
            **{name.replace("_", "-"): value for name, value in options.items()},
        }
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def command(self) -> list[str]:
        """The program with its options, to be started in `folder`."""
        command = [server_binary(), "--port", str(self.port)]
        for name, value in self._options.items():
            command += [f"--{name}", *map(str, value if isinstance(value, tuple) else (value,))]
        return command

    def start(self, *, loaded: bool = True) -> None:
        """Start the server and return once it answers; unless `loaded`, as soon as it says that it is still loading."""
        self.folder.mkdir(parents=True, exist_ok=True)
        wrapped, descriptors = tethered(self.command)
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                wrapped, cwd=self.folder, stdout=log, stderr=log, pass_fds=descriptors, start_new_session=True
            )
        self._wait_until_up(b"+PONG" if loaded else b"-LOADING")

    def kill(self) -> None:
        """SIGKILL, as a crash of the machine's memory would have it. Returns once the server is gone."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def shutdown(self) -> None:
        """SIGTERM: an orderly end."""
        if self._process is not None:
            self._process.terminate()
            self._process.wait(START_SECONDS)

    def stop(self) -> None:
        """SIGSTOP: connections stay open and nothing answers."""
        self._signal(signal.SIGSTOP)

    def cont(self) -> None:
        self._signal(signal.SIGCONT)

    def restart(self) -> None:
        """Kill and start again on the same port, with what the append-only file kept."""
        self.kill()
        self.start()

    def answers(self, wanted: bytes = b"+PONG") -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(64).startswith(wanted)
        except OSError:
            return False

    def _signal(self, number: signal.Signals) -> None:
        assert self._process is not None, "the server was never started"
        self._process.send_signal(number)

    def _wait_until_up(self, wanted: bytes) -> None:
        assert self._process is not None
        deadline = time.monotonic() + START_SECONDS
        while not self.answers(wanted):
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"Redis did not start:\n{(self.folder / 'server.log').read_text()}")
            time.sleep(0.005)
