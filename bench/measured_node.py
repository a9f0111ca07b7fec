"""The figures of one log server under the gateways, or of all nodes of a cluster together."""

from __future__ import annotations

from dataclasses import dataclass, fields

from bench.figures import quantile
from bench.log_node import Usage


@dataclass(frozen=True, slots=True)
class Measured:
    """What a server did in `seconds`. `stored`: what its sessions without viewers added to an empty one; `viewed`: what
    the viewers added to that; `used`: what was done in the time; `held`: the state at its end."""

    seconds: float
    sessions: int
    stored: Usage
    viewed: Usage
    used: Usage
    held: Usage
    lags_s: tuple[float, ...]
    lost: int

    def __add__(self, other: Measured) -> Measured:
        sums = {each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)}
        return Measured(**sums | {"seconds": self.seconds})

    def figures(self) -> dict[str, str]:
        """Return the cells of this server's column, by the title of their row."""
        used, held, seconds = self.used, self.held, self.seconds
        events, lags_ms = max(used.events, 1), [lag_s * 1000 for lag_s in self.lags_s] or [0.0]
        return {
            "sessions with viewers": f"{self.sessions:,}",
            "events/s": f"{used.events / seconds:,.0f}",
            "commands/s": f"{used.commands / seconds:,.0f}",
            "reads/s": f"{used.reads / seconds:,.0f}",
            "deliveries a read": f"{len(self.lags_s) / max(used.reads, 1):.2f}",
            "invalidations/s": f"{used.pushes / seconds:,.0f}",
            "invalidations an event": f"{used.pushes / events:.2f}",
            "CPU, cores": f"{used.cpu_s / seconds:.3f}",
            "CPU, µs an event": f"{used.cpu_s / events * 1e6:.1f}",
            "connections": f"{held.connections:,}",
            "KiB a connection": f"{held.client_memory / held.connections / 1024:.1f}",
            "KiB a session": f"{self.stored.data / max(self.sessions, 1) / 1024:.1f}",
            "bytes a tracked key": f"{self.viewed.data / max(self.viewed.tracked_keys, 1):,.0f}",
            "lag p50, ms": f"{quantile(lags_ms, 0.5):.1f}",
            "lag p99, ms": f"{quantile(lags_ms, 0.99):.1f}",
            "lost": f"{self.lost:,}",
        }
