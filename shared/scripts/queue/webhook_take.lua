#!lua flags=allow-oom
-- Lease a due webhook: that of the tenant whose turn is the longest ago. It is due again after the lease.
-- ARGV: lease us, number of tenants, tenant that has enough in delivery..., host that has enough in delivery... Returns
-- {entry, event, lease, tries, question that was delivered, host}, or {} when none is due. The host is empty where the
-- webhook did not wait for one.
local now, lease, busy = now_us(), int(now_us() + tonumber(ARGV[1])), {tenants = {}, hosts = {}, count = 0}
for i = 3, #ARGV do
    if i - 2 <= tonumber(ARGV[2]) then
        busy.tenants[ARGV[i]] = true
    else
        busy.hosts[ARGV[i]], busy.count = true, busy.count + 1
    end
end
local LEFT_IN_PLACE, LATER = 20, 1000000 -- tenants, us

-- The first webhook that waits for a host. One of which the scores differ was requested again or taken since.
local function first_waiting(tenant, host)
    local found
    repeat
        local name, score = unpack(redis.call('ZRANGE', WEBHOOK_HOSTS .. tenant .. '/' .. host, 0, 0, 'WITHSCORES'))
        if not name then break end
        redis.call('ZREM', WEBHOOK_HOSTS .. tenant .. '/' .. host, name)
        if redis.call('ZSCORE', WEBHOOKS .. tenant, name) == score then found = name end
    until found
    if redis.call('EXISTS', WEBHOOK_HOSTS .. tenant .. '/' .. host) == 1 then
        redis.call('ZADD', WEBHOOK_HOSTS .. tenant, int(now), host)
    else
        redis.call('ZREM', WEBHOOK_HOSTS .. tenant, host)
    end
    return found
end

-- Of a tenant: the first due webhook, or one that waits for a host whose turn is longer ago. Hosts that are busy cost
-- nothing, however many webhooks wait for them.
local function first_of(tenant)
    local due = redis.call('ZRANGEBYSCORE', WEBHOOKS .. tenant, '-inf', int(now), 'WITHSCORES', 'LIMIT', 0, 1)
    local hosts = redis.call('ZRANGE', WEBHOOK_HOSTS .. tenant, 0, busy.count, 'WITHSCORES')
    for i = 1, #hosts, 2 do
        if not busy.hosts[hosts[i]] then
            if due[1] and tonumber(due[2]) <= tonumber(hosts[i + 1]) then break end
            local name = first_waiting(tenant, hosts[i])
            if name then return name, hosts[i] end
        end
    end
    return due[1], ''
end

local passed = 0
while true do
    local tenant = redis.call('ZRANGEBYSCORE', WEBHOOK_TENANTS, '-inf', int(now), 'LIMIT', passed, 1)[1]
    if not tenant then return {} end
    if busy.tenants[tenant] then
        passed = passed + 1
    else
        local name, host = first_of(tenant)
        if name then redis.call('ZADD', WEBHOOKS .. tenant, lease, name) end
        local waiting = redis.call('EXISTS', WEBHOOK_HOSTS .. tenant) == 1
        local next_ = redis.call('ZRANGE', WEBHOOKS .. tenant, 0, 0, 'WITHSCORES')[2]
        if waiting and not name and passed < LEFT_IN_PLACE then
            passed = passed + 1
        elseif waiting then
            redis.call('ZADD', WEBHOOK_TENANTS, int(name and now or now + LATER), tenant)
        elseif next_ then
            redis.call('ZADD', WEBHOOK_TENANTS, int(math.max(now, tonumber(next_))), tenant)
        else
            redis.call('ZREM', WEBHOOK_TENANTS, tenant)
        end
        if name then
            local id, event = string.match(name, '^(.*)/(%a+)$')
            local tries = redis.call('HGET', WEBHOOK_TRIES, name) or '0'
            return {id, event, lease, tries, redis.call('HGET', WEBHOOK_ASKED, id) or '', host}
        end
    end
end
