"""Runs agents and writes their events. An agent of one's own: `from worker import Run, agent`."""

from __future__ import annotations

from worker.registry import agent
from worker.run import AgentError, Run

__all__ = ["AgentError", "Run", "agent"]
