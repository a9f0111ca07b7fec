-- Prelude of the queue scripts, loaded before each of them. All but reserve.lua run at maxmemory too: accepted jobs go
-- on, and a full server must not make live workers look dead.
-- There is one entry for every job that has not ended. It is in exactly one place: deferred (visible later), ready in the
-- lane of its agent, or leased by a worker. The visible entries of a tenant's jobs are apart from those of other tenants.
-- KEYS: those of shared/queue.py PLACES, in that order.
local ENTRIES, DEFERRED, AGAIN, LANES, WORKERS, WAKE, SEEN = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local READY, LEASED, MAILBOX = KEYS[8], KEYS[9], KEYS[10] -- prefixes, since the queue never runs on a Cluster
local RECOVERY, TURN = KEYS[11], KEYS[12]
local SESSIONS = KEYS[13]
local TENANT = KEYS[14] -- a prefix too; all but `paused` and `asking` exist only with tenants
local WEBHOOKS, WEBHOOK_TENANTS, WEBHOOK_TRIES, WEBHOOK_ASKED = KEYS[15], KEYS[16], KEYS[17], KEYS[18]
local STATUSES = KEYS[19]
local CONNECTIONS, CONNECTIONS_TURN, GUESSED = KEYS[20], KEYS[21], KEYS[22] -- the last one is a prefix
local WEBHOOK_HOSTS = KEYS[23] -- a prefix
local ANY = '*' -- the lane that every worker serves
local WAKE_LIMIT = 128
local TURN_RANGE, MOST_RUNNING = 2 ^ 40, 2 ^ 13 - 1 -- of a rank, which has to fit the 53 bits of a score

local function now_us()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function int(number)
    return string.format('%.0f', number)
end

-- Increment a worker's heartbeat counter. It begins with the time, so that a worker that was found dead never has one of
-- its former counts again, with which others may have observed it.
local function count_heartbeat(worker)
    if redis.call('HSETNX', WORKERS, worker, int(now_us())) == 0 then redis.call('HINCRBY', WORKERS, worker, 1) end
end

-- The list of the sessions of one owner, `<tenant>/<subject>` in a complete id; nil without authentication.
local function list_of(session)
    local owner = string.match(session, '^(.*)/')
    return owner and string.sub(SESSIONS, 1, -2) .. owner
end

-- Move the session of an entry to the top of the session lists. Scores are unique, so that they serve as page cursors.
-- `only_listed`: do not add a session that is not listed, such as a deleted one.
local function touch(id, only_listed)
    local session, mode = string.match(id, '^(.*)/'), only_listed and 'XX' or 'CH'
    local top = redis.call('ZRANGE', SESSIONS, -1, -1, 'WITHSCORES')
    local score = int(math.max(now_us(), tonumber(top[2] or 0) + 1))
    redis.call('ZADD', SESSIONS, mode, score, session)
    local own = list_of(session)
    if own then redis.call('ZADD', own, mode, score, session) end
end

local function unlist(session)
    redis.call('ZREM', SESSIONS, session)
    local own = list_of(session)
    if own then redis.call('ZREM', own, session) end
end

local function wake(count)
    if count > 0 and redis.call('LLEN', WAKE) < WAKE_LIMIT then
        local ones = {}
        for i = 1, math.min(count, WAKE_LIMIT) do ones[i] = '1' end
        redis.call('LPUSH', WAKE, unpack(ones))
    end
end

-- The tenant of a job's entry, from the complete id of its session (shared/owner.py). Nil without authentication, and for a
-- control entry, which neither is counted nor waits for a turn.
local function tenant_of(id)
    local slash = string.find(id, '/', 1, true)
    if slash and string.find(id, '/', slash + 1, true) and string.sub(id, -1) ~= '/' then
        return string.sub(id, 1, slash - 1)
    end
end

-- Add to the number of open or running jobs of a tenant. A count of 0 is not stored: a tenant without jobs leaves no field.
local function count(tenant, what, change)
    local field = what .. ':' .. tenant
    local counted = redis.call('HINCRBY', TENANT .. 'counts', field, change)
    if counted <= 0 then redis.call('HDEL', TENANT .. 'counts', field) end
    return math.max(counted, 0)
end

local function create(id, payload)
    local created = redis.call('HSETNX', ENTRIES, id, payload) == 1
    local tenant = created and tenant_of(id)
    if tenant then count(tenant, 'open', 1) end
    return created
end

local function remove(id)
    redis.call('SREM', TENANT .. 'asking', id)
    local tenant = redis.call('HDEL', ENTRIES, id) == 1 and tenant_of(id)
    if tenant then count(tenant, 'open', -1) end
end

-- Add to the running jobs of a tenant, and rank it anew in each lane with visible entries of it: by its running jobs, then by
-- its turn. `served`: it gets a new turn, behind those of all others; otherwise it keeps that of the lane. Returns its running
-- jobs.
local function add_running(tenant, change, served)
    local running, turn = count(tenant, 'running', change), nil
    for _, lane in ipairs(redis.call('SMEMBERS', TENANT .. 'lanes:' .. tenant)) do
        local turns = TENANT .. 'turns:' .. lane
        local own = not served and redis.call('ZSCORE', turns, tenant)
        if not own then turn = turn or redis.call('HINCRBY', TENANT .. 'counts', 'turn', 1) end
        local rank = math.min(running, MOST_RUNNING) * TURN_RANGE + tonumber(own or turn) % TURN_RANGE
        redis.call('ZADD', turns, int(rank), tenant)
    end
    return running
end

local function lease(worker, id, served)
    redis.call('SREM', TENANT .. 'asking', id)
    local tenant = redis.call('SADD', LEASED .. worker, id) == 1 and tenant_of(id)
    if tenant then add_running(tenant, 1, served) end
end

-- Count a job of a tenant as running no more. Wakes a worker where this lifts the tenant below its limit (0: none).
local function stop_running(tenant, limit)
    local running = add_running(tenant, -1)
    if running == limit - 1 and redis.call('EXISTS', TENANT .. 'lanes:' .. tenant) == 1 then wake(1) end
end

local function release(worker, id, limit)
    if redis.call('SREM', LEASED .. worker, id) == 0 then return false end
    local ran, tenant = redis.call('SREM', TENANT .. 'paused', id) == 0, tenant_of(id)
    if ran and tenant then stop_running(tenant, limit) end
    return true
end

local function ready_key(lane, tenant)
    return tenant and TENANT .. 'ready:' .. tenant .. '/' .. lane or READY .. lane
end

-- `first`: before the other entries of its tenant, since it has waited for its turn already.
local function make_ready(id, lane, first)
    local tenant, at = tenant_of(id), now_us()
    local key = ready_key(lane, tenant)
    if first then
        local oldest = redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')
        at = math.min(at, tonumber(oldest[2] or at) - 1)
    end
    redis.call('ZADD', key, int(at), id)
    redis.call('SADD', LANES, lane)
    if tenant and redis.call('SADD', TENANT .. 'lanes:' .. tenant, lane) == 1 then add_running(tenant, 0) end
end

local function leave_lane(tenant, lane)
    redis.call('ZREM', TENANT .. 'turns:' .. lane, tenant)
    redis.call('SREM', TENANT .. 'lanes:' .. tenant, lane)
end

-- Remove an entry from the visible ones of a tenant (nil: from those without one) in a lane.
local function withdraw(id, lane, tenant)
    local key = ready_key(lane, tenant)
    if redis.call('ZREM', key, id) == 0 then return false end
    if tenant and redis.call('EXISTS', key) == 0 then leave_lane(tenant, lane) end
    return true
end

-- Remove an entry from the visible ones. Processes of an older version keep those of tenants among the others.
local function unready(id, lane)
    local tenant = tenant_of(id)
    return tenant and (withdraw(id, lane, tenant) or withdraw(id, ANY, tenant)) or withdraw(id, lane) or withdraw(id, ANY)
end

-- A payload has arq's format: t is the try, f the function, a its arguments, et the creation time in ms.
-- An unreadable one goes to the lane that every worker serves: the entry's name identifies its job.
local function lane_of(payload)
    local readable, job = pcall(cjson.decode, payload)
    return readable and type(job) == 'table' and type(job.f) == 'string' and job.f or ANY
end

-- A payload without a delivery number is created again, since its job would be stale for ever.
local function set_delivery(id, delivery)
    local payload = redis.call('HGET', ENTRIES, id)
    if payload then
        local try, replaced = '"t":' .. int(delivery), nil
        payload, replaced = string.gsub(payload, '"t":%d+', try, 1)
        if replaced == 0 then payload = '{' .. try .. ',"f":"' .. ANY .. '","a":[],"k":{"w":1},"et":0}' end
        redis.call('HSET', ENTRIES, id, payload)
    end
    return payload
end

-- The webhooks of a tenant, and the tenants by the time of their first one, are sorted by when they are due. Those that
-- wait for a host are among them, and a second time below the host, with the same score. A name is that of the job's
-- entry, `/` and the event. `limit`: of the webhooks of a tenant, nil for one that exists. Returns
-- whether there was room.
local function due_webhook(id, event, at, limit, condition)
    local tenant, name = string.match(id, '^([^/]+)/.*/') or '', id .. '/' .. event
    local full = limit and redis.call('ZRANGE', WEBHOOKS .. tenant, limit - 1, limit - 1)[1]
    if full and not redis.call('ZSCORE', WEBHOOKS .. tenant, name) then return false end
    redis.call('ZADD', WEBHOOKS .. tenant, condition or 'CH', int(at), name)
    redis.call('ZADD', WEBHOOK_TENANTS, 'LT', int(at), tenant)
    return true
end

-- Create the delivery of the webhook at a job's end, where the job may have one, as its entry is dropped: at no moment is
-- there neither, unless its tenant has too many. `delay`: us. Returns whether there was room.
local function webhook_at_end(id, payload, delay, limit)
    if not payload or not string.find(payload, '"w":1', 1, true) then return true end
    redis.call('HDEL', WEBHOOK_ASKED, id)
    return due_webhook(id, 'ended', now_us() + delay, limit)
end
