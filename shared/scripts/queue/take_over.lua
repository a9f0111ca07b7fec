#!lua flags=allow-oom
-- Make all entries of a dead worker ready again, each as the next one of its tenant and with the next delivery number, if
-- the worker's counter is still `count`. For `guess` ms, if not 0, it is recorded that the worker may still be alive.
-- ARGV: worker, count, guess. Returns how many entries, or -1 when the worker is alive or another one took them over.
local worker, guess = ARGV[1], ARGV[3]
if redis.call('HGET', WORKERS, worker) ~= ARGV[2] then return -1 end
local ids = redis.call('SMEMBERS', LEASED .. worker)
for _, id in ipairs(ids) do
    release(worker, id, 0)
    local payload = redis.call('HGET', ENTRIES, id)
    if payload then
        payload = set_delivery(id, tonumber(string.match(payload, '"t":(%d+)') or 0) + 1)
        make_ready(id, lane_of(payload), true)
        if guess ~= '0' then redis.call('SET', GUESSED .. id, worker, 'PX', guess) end
    end
end
if guess ~= '0' then redis.call('SET', GUESSED .. worker, worker, 'PX', guess) end
redis.call('HDEL', WORKERS, worker)
redis.call('HDEL', STATUSES, worker)
redis.call('HDEL', CONNECTIONS, worker)
redis.call('DEL', LEASED .. worker, MAILBOX .. worker)
wake(#ids)
return #ids
