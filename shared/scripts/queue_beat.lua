#!lua flags=allow-oom
-- Count a worker's heart one up, at maxmemory too. ARGV: worker. Answers the tokens that it leases.
redis.call('HINCRBY', WORKERS, ARGV[1], 1)
return redis.call('SMEMBERS', LEASED .. ARGV[1])
