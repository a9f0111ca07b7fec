"""What deploy/scale-check runs. Python 3.11's standard library only; bounded in jobs and in time.

COMPOSE (`docker compose`) and ENGINE (`docker`, for killing single containers) say how containers are handled.
"""

from __future__ import annotations

WORKERS, GATEWAYS, JOBS, WATCHED = 3, 2, 60, 3
TOKENS, INTERVAL_MS = 150, 100
WORKER_DIES_AFTER, GATEWAY_DIES_AFTER = 40, 80  # events of a watched job
TICKET_S = 20  # longer than a hop, and renewed within every watched job

BUILD_S, COMMAND_S, READY_S, JOBS_S, ANSWER_S = 900, 120, 120, 180, 45
ENDED = ("completed", "failed", "cancelled")


class CheckFailed(Exception):
    """The check could not be carried out, or took too long."""
