"""The upper bound: an epoll loop in C that forwards events, without Redis or history."""

from __future__ import annotations

from bench.load import Feed, Target, command
from bench.peers.stage import Peer, Stage
from bench.processes import free_port
from bench.programs import program


def start(stage: Stage) -> Target:
    return _start(stage, "each")


def start_coalescing(stage: Stage) -> Target:
    return _start(stage, "coalesce")


def _start(stage: Stage, mode: str) -> Target:
    port = free_port()
    server = stage.server([program("peers/epoll_writer.c"), str(port), str(stage.sessions), mode], port)
    lines = [command(b"%d %b\n" % (number, stage.event)) for number in range(stage.sessions)]
    return Target([port], "/{session}", Feed(port, "lines", lines), [server])


PEER = Peer("raw", "raw C writer, one write an event", start, history=False)
COALESCING = Peer("raw-coalesce", "raw C writer, coalescing", start_coalescing, history=False)
