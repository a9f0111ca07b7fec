#!lua flags=allow-oom
-- Lease the oldest ready entries of some lanes to a worker. Deferred ones that are visible by now become ready first.
-- ARGV: worker, count, lane... Returns {entry, payload, ...}.
local worker, count = ARGV[1], tonumber(ARGV[2])
local visible = redis.call('ZRANGEBYSCORE', DEFERRED, '-inf', int(now_us()), 'LIMIT', 0, 256)
for _, id in ipairs(visible) do
    redis.call('ZREM', DEFERRED, id)
    local payload = redis.call('HGET', ENTRIES, id)
    if payload then make_ready(id, lane_of(payload)) end
end
-- Wake other workers for those that this one does not take.
if #visible > count then wake(#visible - count) end

redis.call('HSETNX', WORKERS, worker, 0)
local taken = {}
while #taken < 2 * count do
    local best, best_score, best_lane
    for i = 3, #ARGV do
        local first = redis.call('ZRANGE', READY .. ARGV[i], 0, 0, 'WITHSCORES')
        if first[1] and (not best or tonumber(first[2]) < best_score) then
            best, best_score, best_lane = first[1], tonumber(first[2]), ARGV[i]
        end
    end
    if not best then break end
    redis.call('ZREM', READY .. best_lane, best)
    local payload = redis.call('HGET', ENTRIES, best)
    if payload then
        redis.call('SADD', LEASED .. worker, best)
        redis.call('SREM', AGAIN, best)
        taken[#taken + 1] = best
        taken[#taken + 1] = payload
    end
end
return taken
