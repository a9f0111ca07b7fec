#!lua flags=allow-oom
-- Drop an entry whose job has ended. A control entry (its id ends with /) that was requested again meanwhile stays.
-- ARGV: worker, entry, limit of a tenant's running jobs or 0, limit of a tenant's webhooks. Returns 1; 2 when that limit
-- allows no webhook; 0 when the worker no longer leases the entry.
local id, reply = ARGV[2], 1
if not release(ARGV[1], id, tonumber(ARGV[3])) then return 0 end
if redis.call('SREM', AGAIN, id) == 1 and string.sub(id, -1) == '/' then
    make_ready(id, ANY)
    wake(1)
else
    if not webhook_at_end(id, redis.call('HGET', ENTRIES, id), 0, tonumber(ARGV[4])) then reply = 2 end
    remove(id)
    if string.sub(id, -1) ~= '/' then touch(id, true) end
end
return reply
