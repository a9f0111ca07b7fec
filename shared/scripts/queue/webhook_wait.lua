#!lua flags=allow-oom
-- Return a leased webhook, which waits for a host that has enough in delivery. It is due by itself after an hour, should
-- an older version, which knows nothing of hosts, have taken the turn of its tenant.
-- ARGV: entry, event, lease, host, us of an hour. Returns 1, or 0 when the lease has passed to another worker or the
-- webhook was requested again.
local id, event, host = ARGV[1], ARGV[2], ARGV[4]
local tenant, name = string.match(id, '^([^/]+)/.*/') or '', id .. '/' .. event
if redis.call('ZSCORE', WEBHOOKS .. tenant, name) ~= ARGV[3] then return 0 end
local now = now_us()
local due = int(now + tonumber(ARGV[5]))
redis.call('ZADD', WEBHOOKS .. tenant, due, name)
redis.call('ZADD', WEBHOOK_HOSTS .. tenant .. '/' .. host, due, name)
redis.call('ZADD', WEBHOOK_HOSTS .. tenant, 'NX', int(now), host)
redis.call('ZADD', WEBHOOK_TENANTS, 'LT', int(now), tenant)
return 1
