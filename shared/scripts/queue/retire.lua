#!lua flags=allow-oom
-- Drop the queue entries of jobs that have ended. A leased one becomes visible at once when its worker puts it back.
-- ARGV: entry...
for _, id in ipairs(ARGV) do
    local payload = redis.call('HGET', ENTRIES, id)
    if payload then
        local removed = redis.call('ZREM', DEFERRED, id) + redis.call('ZREM', READY .. lane_of(payload), id)
            + redis.call('ZREM', READY .. ANY, id)
        touch(id, true)
        if removed > 0 then redis.call('HDEL', ENTRIES, id) else redis.call('SADD', AGAIN, id) end
    end
end
return 'ok'
