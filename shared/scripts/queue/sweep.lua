#!lua flags=allow-oom
-- Move entries that waited too long, perhaps since no worker offers their agent, to the lane that every worker serves:
-- the worker that takes one ends its job. ARGV: longest wait us
local before = int(now_us() - tonumber(ARGV[1]))

local function sweep(lane, tenant)
    local late = redis.call('ZRANGEBYSCORE', ready_key(lane, tenant), '-inf', before, 'LIMIT', 0, 256)
    for _, id in ipairs(late) do
        withdraw(id, lane, tenant)
        make_ready(id, ANY)
    end
    wake(#late)
end

for _, lane in ipairs(redis.call('SMEMBERS', LANES)) do
    if lane ~= ANY then
        sweep(lane)
        for _, tenant in ipairs(redis.call('ZRANGE', TENANT .. 'turns:' .. lane, 0, -1)) do sweep(lane, tenant) end
        if redis.call('EXISTS', READY .. lane, TENANT .. 'turns:' .. lane) == 0 then redis.call('SREM', LANES, lane) end
    end
end
return 'ok'
