#!lua flags=allow-oom
-- Make an entry visible, at the latest after `delay` us, creating it if missing. A leased one becomes visible when it is
-- put back. ARGV: entry, payload, delay us
local id, delay = ARGV[1], tonumber(ARGV[3])
local function is_ready(lane, tenant)
    return redis.call('ZSCORE', ready_key(lane, tenant), id) or redis.call('ZSCORE', ready_key(ANY, tenant), id)
end

local known = not create(id, ARGV[2])
local deferred = redis.call('ZSCORE', DEFERRED, id)
if known and not deferred then
    local lane = lane_of(ARGV[2])
    if not is_ready(lane, tenant_of(id)) and not is_ready(lane) then redis.call('SADD', AGAIN, id) end
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
