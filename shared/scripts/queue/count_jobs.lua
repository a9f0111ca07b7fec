#!lua flags=no-writes
-- Count the jobs of each agent by their state. Control entries are left out.
-- Returns {workers, {state, agent, number, oldest wait us or -1}...}. A wait is that of a visible entry.
local now, counted = now_us(), {}

local function add(state, agent, number, wait)
    if agent == ANY then return end
    local name = state .. ' ' .. agent
    local known = counted[name] or {state, agent, 0, -1}
    known[3], known[4] = known[3] + number, math.max(known[4], wait)
    counted[name] = known
end

local function add_ready(lane, tenant)
    local key = ready_key(lane, tenant)
    local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
    if oldest[2] then add('waiting', lane, redis.call('ZCARD', key), now - tonumber(oldest[2])) end
end

for _, lane in ipairs(redis.call('SMEMBERS', LANES)) do
    add_ready(lane)
    for _, tenant in ipairs(redis.call('ZRANGE', TENANT .. 'turns:' .. lane, 0, -1)) do add_ready(lane, tenant) end
end

-- The agent is found without decoding the payload, which would take 5 us each.
local function add_entries(ids, state_of)
    for first = 1, #ids, 500 do
        local page = {unpack(ids, first, math.min(first + 499, #ids))}
        for i, payload in ipairs(redis.call('HMGET', ENTRIES, unpack(page))) do
            local agent = payload and string.match(payload, '"f":"([^"\\]+)"') or ANY
            add(state_of(page[i]), agent, 1, -1)
        end
    end
end

local paused, asking, workers = {}, {}, redis.call('HKEYS', WORKERS)
for _, id in ipairs(redis.call('SMEMBERS', TENANT .. 'paused')) do paused[id] = true end
for _, id in ipairs(redis.call('SMEMBERS', TENANT .. 'asking')) do asking[id] = true end
for _, worker in ipairs(workers) do
    add_entries(redis.call('SMEMBERS', LEASED .. worker), function(id) return paused[id] and 'asking' or 'running' end)
end
add_entries(redis.call('ZRANGE', DEFERRED, 0, -1), function(id) return asking[id] and 'asking' or 'deferred' end)

local found = {#workers}
for _, each in pairs(counted) do found[#found + 1] = each end
return found
