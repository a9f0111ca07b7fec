#!lua flags=allow-oom
-- Record which leased entries take no slot, since their jobs wait for a person: they do not count as running.
-- ARGV: worker, limit of a tenant's running jobs or 0, number of entries that take none any more, these, those that take one
-- again. Returns the entries that the worker does not lease.
local worker, limit, paused, lost = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), {}
for i = 4, #ARGV do
    local id = ARGV[i]
    if redis.call('SISMEMBER', LEASED .. worker, id) == 0 then
        lost[#lost + 1] = id
    elseif i > paused + 3 then
        local resumed, tenant = redis.call('SREM', TENANT .. 'paused', id) == 1, tenant_of(id)
        if resumed and tenant then add_running(tenant, 1) end
    else
        local stopped, tenant = redis.call('SADD', TENANT .. 'paused', id) == 1, tenant_of(id)
        if stopped and tenant then stop_running(tenant, limit) end
    end
end
return lost
