"""Adapters that run agents of other frameworks in Holdfast. Each is a module, imported only where it is used."""

from __future__ import annotations

from holdfast.worker.process.settings import quieten

quieten()
