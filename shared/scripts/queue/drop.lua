#!lua flags=allow-oom
-- Drop an entry whose job has ended. A control entry (its id ends with /) that was requested again meanwhile stays.
-- ARGV: worker, entry. Returns 1, or 0 when the worker no longer leases it.
local worker, id = ARGV[1], ARGV[2]
if redis.call('SREM', LEASED .. worker, id) == 0 then return 0 end
if redis.call('SREM', AGAIN, id) == 1 and string.sub(id, -1) == '/' then
    make_ready(id, ANY)
    wake(1)
else
    redis.call('HDEL', ENTRIES, id)
    if string.sub(id, -1) ~= '/' then touch(id, true) end
end
return 1
