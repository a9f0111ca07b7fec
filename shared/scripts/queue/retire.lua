#!lua flags=allow-oom
-- Drop the queue entries of jobs that have ended. A leased one becomes visible at once when its worker puts it back.
-- ARGV: limit of a tenant's webhooks, entry... Returns the entries for which that limit allows no webhook.
local refused = {}
for i = 2, #ARGV do
    local id = ARGV[i]
    local payload = redis.call('HGET', ENTRIES, id)
    if payload then
        touch(id, true)
        if redis.call('ZREM', DEFERRED, id) == 1 or unready(id, lane_of(payload)) then
            local delay = 1000000 -- the job ends in a moment
            if not webhook_at_end(id, payload, delay, tonumber(ARGV[1])) then refused[#refused + 1] = id end
            remove(id)
        else
            redis.call('SADD', AGAIN, id)
        end
    end
end
return refused
