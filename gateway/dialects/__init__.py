"""The forms in which a session's log is streamed to viewers: registry.py lists those of Holdfast's own events,
mounts.py those of other protocols."""
