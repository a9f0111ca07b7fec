"""One attempt at a job: it calls the agent, writes its events, and continues where an earlier attempt ended."""
