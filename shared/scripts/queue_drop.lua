#!lua flags=allow-oom
-- Drop a token whose job has ended. A nudge that was wanted again meanwhile (its id ends with /) stays.
-- ARGV: worker, token. Answers 1, or 0 when the worker does not lease it any more.
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
