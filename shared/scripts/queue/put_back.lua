#!lua flags=allow-oom
-- Put a leased entry back with a delivery number, visible after a delay, or at once if it was requested again meanwhile.
-- ARGV: worker, entry, delivery, delay us. Returns 1, or 0 when the worker no longer leases it.
local worker, id, delay = ARGV[1], ARGV[2], tonumber(ARGV[4])
if redis.call('SREM', LEASED .. worker, id) == 0 then return 0 end
local payload = set_delivery(id, ARGV[3])
if not payload then return 0 end
if redis.call('SREM', AGAIN, id) == 1 or delay == 0 then
    make_ready(id, lane_of(payload))
    wake(1)
else
    redis.call('ZADD', DEFERRED, int(now_us() + delay), id)
end
return 1
