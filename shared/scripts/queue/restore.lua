#!lua flags=allow-oom
-- Create entries of accepted jobs again that the queue lost. Ignores the queue limit, which they have passed before.
-- ARGV: delay us until they are visible, then entry and payload of each. Returns how many were created.
local delay, made = tonumber(ARGV[1]), 0
for i = 2, #ARGV, 2 do
    local id = ARGV[i]
    if create(id, ARGV[i + 1]) then
        made = made + 1
        touch(id)
        if delay > 0 then
            redis.call('ZADD', DEFERRED, int(now_us() + delay), id)
        else
            make_ready(id, lane_of(ARGV[i + 1]))
        end
    end
end
if delay == 0 then wake(made) end
return made
