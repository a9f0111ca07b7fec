#!lua flags=allow-oom
-- Increment a worker's heartbeat counter, at maxmemory too. ARGV: worker. Returns the entries that it leases.
redis.call('HINCRBY', WORKERS, ARGV[1], 1)
return redis.call('SMEMBERS', LEASED .. ARGV[1])
