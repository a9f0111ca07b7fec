"""A streaming gateway with resumable sessions for AI agents. Agents import `Run`, `agent` and `AgentError` from
here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from holdfast.worker import AgentError, Run, agent
else:

    def __getattr__(name: str) -> Any:
        """Import the agent SDK on first use, since gateway and command do not need it."""
        if name not in __all__:
            raise AttributeError(f"module 'holdfast' has no attribute {name!r}")
        from holdfast import worker

        return getattr(worker, name)


__all__ = ["AgentError", "Run", "agent"]
