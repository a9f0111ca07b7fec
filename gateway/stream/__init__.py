"""Event streams: from the entries of a session's log to the viewers. hub.py holds them all."""
