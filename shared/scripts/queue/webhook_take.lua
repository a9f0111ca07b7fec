#!lua flags=allow-oom
-- Lease a due webhook: that of the tenant whose turn is the longest ago. It is due again after the lease.
-- ARGV: lease us, tenant that has enough in delivery... Returns {entry, event, lease, tries, question that was delivered},
-- or {} when none is due.
local now, lease, busy = now_us(), int(now_us() + tonumber(ARGV[1])), {}
for i = 2, #ARGV do busy[ARGV[i]] = true end
while true do
    local moved = false
    for _, tenant in ipairs(redis.call('ZRANGEBYSCORE', WEBHOOK_TENANTS, '-inf', int(now), 'LIMIT', 0, #ARGV)) do
        if not busy[tenant] then
            local name = redis.call('ZRANGEBYSCORE', WEBHOOKS .. tenant, '-inf', int(now), 'LIMIT', 0, 1)[1]
            if name then redis.call('ZADD', WEBHOOKS .. tenant, lease, name) end
            local next_ = redis.call('ZRANGE', WEBHOOKS .. tenant, 0, 0, 'WITHSCORES')[2]
            if next_ then
                redis.call('ZADD', WEBHOOK_TENANTS, int(math.max(now, tonumber(next_))), tenant)
            else
                redis.call('ZREM', WEBHOOK_TENANTS, tenant)
            end
            if name then
                local id, event = string.match(name, '^(.*)/(%a+)$')
                local tries = redis.call('HGET', WEBHOOK_TRIES, name) or '0'
                return {id, event, lease, tries, redis.call('HGET', WEBHOOK_ASKED, id) or ''}
            end
            moved = true
        end
    end
    if not moved then return {} end
end
