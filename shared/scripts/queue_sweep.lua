#!lua flags=allow-oom
-- Put what has waited too long in a lane, whose workers may all be gone, into the lane that every worker serves: it ends there.
-- ARGV: longest wait us
local before = int(now_us() - tonumber(ARGV[1]))
for _, lane in ipairs(redis.call('SMEMBERS', LANES)) do
    if lane ~= ANY then
        local late = redis.call('ZRANGEBYSCORE', READY .. lane, '-inf', before, 'LIMIT', 0, 256)
        for _, id in ipairs(late) do
            redis.call('ZREM', READY .. lane, id)
            make_ready(id, ANY)
        end
        wake(#late)
        if redis.call('EXISTS', READY .. lane) == 0 then redis.call('SREM', LANES, lane) end
    end
end
return 'ok'
