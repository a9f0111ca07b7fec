#!lua flags=allow-oom
-- Lease ready entries of some lanes to a worker: the oldest without a tenant first, then for each free slot the oldest of
-- the tenant with the fewest running jobs, of several the one that was served or came first. Deferred ones that are visible
-- by now become ready first. ARGV: worker, slots, limit of a tenant's running jobs or 0, lane... Returns {entry, payload, ...}.
local worker, slots, limit, LANE = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), 4
local now = int(now_us())
local visible = redis.call('ZRANGEBYSCORE', DEFERRED, '-inf', now, 'LIMIT', 0, 256)
for _, id in ipairs(visible) do
    redis.call('ZREM', DEFERRED, id)
    local payload = redis.call('HGET', ENTRIES, id)
    if payload then make_ready(id, lane_of(payload)) end
end
-- Wake other workers for those that this one does not take.
if #visible > slots then wake(#visible - slots) end

redis.call('HSETNX', WORKERS, worker, now)

-- Return the member with the lowest score in these sets, one for each of the worker's lanes.
local function lowest(prefix)
    local best, best_score, best_lane
    for i = LANE, #ARGV do
        local found = redis.call('ZRANGE', prefix .. ARGV[i], 0, 0, 'WITHSCORES')
        local score = tonumber(found[2])
        if score and (not best or score < best_score) then best, best_score, best_lane = found[1], score, ARGV[i] end
    end
    return best, best_lane, best_score
end

-- Return the oldest entry of the tenant whose turn it is. Where the server lost its entries, the tenant is left out.
local function entry_in_turn()
    while true do
        local tenant, _, score = lowest(TENANT .. 'turns:')
        if not tenant or (limit > 0 and score >= limit * TURN_RANGE) then return nil end
        local id, lane = lowest(ready_key('', tenant))
        if id then return id, lane, tenant end
        for i = LANE, #ARGV do leave_lane(tenant, ARGV[i]) end
    end
end

local taken, tenants = {}, nil
while #taken < 2 * slots do
    local id, lane, tenant
    if not tenants then
        id, lane = lowest(READY)
        tenants = not id and redis.call('EXISTS', TENANT .. 'counts') == 1
    end
    if tenants then id, lane, tenant = entry_in_turn() end
    if not id then break end
    withdraw(id, lane, tenant)
    local payload = redis.call('HGET', ENTRIES, id)
    if payload then
        lease(worker, id, tenant)
        redis.call('SREM', AGAIN, id)
        taken[#taken + 1] = id
        taken[#taken + 1] = payload
    end
end
return taken
