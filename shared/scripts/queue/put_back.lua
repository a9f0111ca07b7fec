#!lua flags=allow-oom
-- Put a leased entry back with a delivery number, visible after a delay, or at once if it was requested again meanwhile.
-- Without a delay it is the next one of its tenant.
-- ARGV: worker, entry, delivery, delay us, limit of a tenant's running jobs or 0, 1 if the job waits for a person. Returns 1,
-- or 0 when the worker no longer leases it.
local id, delay = ARGV[2], tonumber(ARGV[4])
if not release(ARGV[1], id, tonumber(ARGV[5])) then return 0 end
local payload = set_delivery(id, ARGV[3])
if not payload then return 0 end
if redis.call('SREM', AGAIN, id) == 1 or delay == 0 then
    make_ready(id, lane_of(payload), delay == 0)
    wake(1)
else
    redis.call('ZADD', DEFERRED, int(now_us() + delay), id)
    if ARGV[6] == '1' then redis.call('SADD', TENANT .. 'asking', id) end
end
return 1
