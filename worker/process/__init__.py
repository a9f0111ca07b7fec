"""The worker process: it takes jobs from the queue, keeps their leases, and takes over those of dead workers."""
