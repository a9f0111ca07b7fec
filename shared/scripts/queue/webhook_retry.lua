#!lua flags=allow-oom
-- Return a leased webhook, due after a delay. ARGV: entry, event, lease, delay us, tries so far
-- Returns 1, or 0 when the lease has passed to another worker or the webhook was requested again.
local id, event = ARGV[1], ARGV[2]
local tenant, name = string.match(id, '^([^/]+)/.*/') or '', id .. '/' .. event
if redis.call('ZSCORE', WEBHOOKS .. tenant, name) ~= ARGV[3] then return 0 end
redis.call('HSET', WEBHOOK_TRIES, name, ARGV[5])
due_webhook(id, event, now_us() + tonumber(ARGV[4]))
return 1
