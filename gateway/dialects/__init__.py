"""The forms in which a session's log is streamed to viewers. registry.py lists them."""
