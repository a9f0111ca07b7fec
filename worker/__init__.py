"""Runs agents and writes their events. Agents import from `holdfast`: `from holdfast import Run, agent`."""

from __future__ import annotations

from holdfast.worker.sdk.registry import agent
from holdfast.worker.sdk.run import AgentError, Run

__all__ = ["AgentError", "Run", "agent"]
