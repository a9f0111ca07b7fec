"""Connections to Redis, and one tree of errors."""
