#!lua flags=allow-oom
-- Make an entry visible, at the latest after `delay` us, creating it if missing. A leased one becomes visible when it is
-- put back. ARGV: entry, payload, delay us
local id, delay = ARGV[1], tonumber(ARGV[3])
local known = redis.call('HSETNX', ENTRIES, id, ARGV[2]) == 0
local deferred = redis.call('ZSCORE', DEFERRED, id)
if known and not deferred then
    if not redis.call('ZSCORE', READY .. lane_of(ARGV[2]), id) and not redis.call('ZSCORE', READY .. ANY, id) then
        redis.call('SADD', AGAIN, id)
    end
    return 'ok'
end
if delay > 0 then
    local visible_at = now_us() + delay
    if not deferred or visible_at < tonumber(deferred) then redis.call('ZADD', DEFERRED, int(visible_at), id) end
    return 'ok'
end
redis.call('ZREM', DEFERRED, id)
make_ready(id, lane_of(redis.call('HGET', ENTRIES, id)))
wake(1)
return 'ok'
