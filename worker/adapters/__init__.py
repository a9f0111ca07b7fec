"""Agents of other frameworks as agents of Holdfast. Each has its module, which is imported by whoever uses it."""

from __future__ import annotations

from holdfast.worker.quiet import quieten

quieten()
