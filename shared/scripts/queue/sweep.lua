#!lua flags=allow-oom
-- Move entries that waited too long, perhaps since no worker offers their agent, to the lane that every worker serves:
-- the worker that takes one ends its job. ARGV: longest wait us
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
