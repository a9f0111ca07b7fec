#!lua flags=allow-oom
-- Count the jobs of all tenants anew, at most once in an interval: processes of an older version move entries without
-- counting them. ARGV: interval us. Returns how many counts were wrong.
if redis.call('EXISTS', TENANT .. 'counts') == 0 then return 0 end
local now = now_us()
if math.abs(now - tonumber(redis.call('HGET', TENANT .. 'counts', 'counted') or 0)) < tonumber(ARGV[1]) then return 0 end
redis.call('HSET', TENANT .. 'counts', 'counted', int(now))

local counts, paused, wrong = {open = {}, running = {}}, {}, 0
local function add(of, id)
    local tenant = tenant_of(id)
    if tenant then of[tenant] = (of[tenant] or 0) + 1 end
end

for _, id in ipairs(redis.call('HKEYS', ENTRIES)) do add(counts.open, id) end
for _, id in ipairs(redis.call('SMEMBERS', TENANT .. 'paused')) do paused[id] = true end
for _, worker in ipairs(redis.call('HKEYS', WORKERS)) do
    for _, id in ipairs(redis.call('SMEMBERS', LEASED .. worker)) do
        if not paused[id] then add(counts.running, id) end
        paused[id] = nil
    end
end
for id in pairs(paused) do redis.call('SREM', TENANT .. 'paused', id) end

local stored = redis.call('HGETALL', TENANT .. 'counts')
for i = 1, #stored, 2 do
    local what, tenant = string.match(stored[i], '^(%a+):(.*)$')
    if tenant then counts[what][tenant] = (counts[what][tenant] or 0) - tonumber(stored[i + 1]) end
end
for what, differences in pairs(counts) do
    for tenant, difference in pairs(differences) do
        if difference ~= 0 then
            wrong = wrong + 1
            if what == 'open' then count(tenant, what, difference) else add_running(tenant, difference) end
        end
    end
end
return wrong
