#!lua flags=allow-oom
-- Lease entries again whose lease the queue lost while the worker still owns their sessions: the entry is missing or
-- visible. ARGV: worker, then entry and payload of each. Returns the entries that another worker leases.
local worker, lost = ARGV[1], {}
for i = 2, #ARGV, 2 do
    local id = ARGV[i]
    if create(id, ARGV[i + 1]) or redis.call('ZREM', DEFERRED, id) == 1
        or unready(id, lane_of(redis.call('HGET', ENTRIES, id))) then
        lease(worker, id)
    elseif redis.call('SISMEMBER', LEASED .. worker, id) == 0 then
        lost[#lost + 1] = id
    end
end
return lost
