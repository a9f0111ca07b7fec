"""What the gateway and the worker must agree on: events, ids, keys, scripts, log, queue, settings, errors."""
