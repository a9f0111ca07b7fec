#!lua flags=allow-oom
-- See that a token is due, `delay` us from now at the latest. One that is leased becomes due again when it is put back.
-- ARGV: token, payload, delay us
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
    local due = now_us() + delay
    if not deferred or due < tonumber(deferred) then redis.call('ZADD', DEFERRED, int(due), id) end
    return 'ok'
end
redis.call('ZREM', DEFERRED, id)
make_ready(id, lane_of(redis.call('HGET', ENTRIES, id)))
wake(1)
return 'ok'
