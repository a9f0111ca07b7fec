#!lua flags=allow-oom
-- Make all that a dead worker leased ready again, as the next delivery. Compares once more: its count must not have moved.
-- ARGV: worker, count. Answers how many tokens, or -1 when the worker lives or somebody else was first.
local worker = ARGV[1]
if redis.call('HGET', WORKERS, worker) ~= ARGV[2] then return -1 end
local ids = redis.call('SMEMBERS', LEASED .. worker)
for _, id in ipairs(ids) do
    local payload = redis.call('HGET', ENTRIES, id)
    if payload then
        payload = set_delivery(id, tonumber(string.match(payload, '"t":(%d+)') or 0) + 1)
        make_ready(id, lane_of(payload))
    end
end
redis.call('HDEL', WORKERS, worker)
redis.call('DEL', LEASED .. worker, MAILBOX .. worker)
wake(#ids)
return #ids
