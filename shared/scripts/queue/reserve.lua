#!lua
-- Create the entry of a job before the job is accepted. It becomes visible after a delay unless it is made ready before.
-- ARGV: entry, payload, delay us, queue limit, agent, agent lifetime us, queue limit of a tenant. Returns 'ok', 'full',
-- 'tenant full', 'unknown', or 'none' when no agent is offered.
if redis.call('EXISTS', SEEN) == 0 then return 'none' end
local seen = redis.call('ZSCORE', SEEN, ARGV[5])
if not seen or now_us() - tonumber(seen) > tonumber(ARGV[6]) then return 'unknown' end
local tenant = tenant_of(ARGV[1])
if tenant and tonumber(redis.call('HGET', TENANT .. 'counts', 'open:' .. tenant) or 0) >= tonumber(ARGV[7]) then return 'tenant full' end
if redis.call('HLEN', ENTRIES) >= tonumber(ARGV[4]) then return 'full' end
if create(ARGV[1], ARGV[2]) then
    redis.call('ZADD', DEFERRED, int(now_us() + tonumber(ARGV[3])), ARGV[1])
    touch(ARGV[1])
end
return 'ok'
