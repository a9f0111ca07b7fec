#!lua
-- Note a job before it is accepted: its token is due after a while, should nobody make it ready before.
-- ARGV: token, payload, delay us, queue limit, agent, memory of agents us. Answers 'ok', 'full', 'unknown',
-- or 'none' when no agent is on offer.
if redis.call('EXISTS', SEEN) == 0 then return 'none' end
local seen = redis.call('ZSCORE', SEEN, ARGV[5])
if not seen or now_us() - tonumber(seen) > tonumber(ARGV[6]) then return 'unknown' end
if redis.call('HLEN', ENTRIES) >= tonumber(ARGV[4]) then return 'full' end
if redis.call('HSETNX', ENTRIES, ARGV[1], ARGV[2]) == 1 then
    redis.call('ZADD', DEFERRED, int(now_us() + tonumber(ARGV[3])), ARGV[1])
    touch(ARGV[1])
end
return 'ok'
