#!lua flags=allow-oom
-- Drop a leased webhook. ARGV: entry, event, lease, question that needs no further delivery (may be empty)
-- Returns 1, or 0 when the lease has passed to another worker or the webhook was requested again.
local id, event = ARGV[1], ARGV[2]
local tenant, name = string.match(id, '^([^/]+)/.*/') or '', id .. '/' .. event
if ARGV[4] ~= '' and redis.call('HEXISTS', ENTRIES, id) == 1 then redis.call('HSET', WEBHOOK_ASKED, id, ARGV[4]) end
if redis.call('ZSCORE', WEBHOOKS .. tenant, name) ~= ARGV[3] then return 0 end
redis.call('HDEL', WEBHOOK_TRIES, name)
redis.call('ZREM', WEBHOOKS .. tenant, name)
if redis.call('EXISTS', WEBHOOKS .. tenant) == 0 and redis.call('EXISTS', WEBHOOK_HOSTS .. tenant) == 0 then
    redis.call('ZREM', WEBHOOK_TENANTS, tenant)
end
return 1
