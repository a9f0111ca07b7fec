"""Code that gateway and worker share: events, ids, keys, scripts, log, queue, settings, errors."""
