#!lua flags=allow-oom
-- Increment a worker's heartbeat counter, at maxmemory too, and store its status with the time. ARGV: worker, status.
-- Returns the entries that it leases.
count_heartbeat(ARGV[1])
redis.call('HSET', STATUSES, ARGV[1], int(now_us() / 1000) .. ' ' .. ARGV[2])
return redis.call('SMEMBERS', LEASED .. ARGV[1])
