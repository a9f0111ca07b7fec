-- Prelude of the queue scripts, loaded before each of them. All but reserve.lua run at maxmemory too: accepted jobs go
-- on, and a full server must not make live workers look dead.
-- There is one entry for every job that has not ended. It is in exactly one place: deferred (visible later), ready in the
-- lane of its agent, or leased by a worker.
-- KEYS: those of shared/queue.py PLACES, in that order.
local ENTRIES, DEFERRED, AGAIN, LANES, WORKERS, WAKE, SEEN = KEYS[1], KEYS[2], KEYS[3], KEYS[4], KEYS[5], KEYS[6], KEYS[7]
local READY, LEASED, MAILBOX = KEYS[8], KEYS[9], KEYS[10] -- prefixes, since the queue never runs on a Cluster
local RECOVERY, TURN = KEYS[11], KEYS[12]
local SESSIONS = KEYS[13]
local ANY = '*' -- the lane that every worker serves
local WAKE_LIMIT = 128

local function now_us()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000000 + tonumber(time[2])
end

local function int(number)
    return string.format('%.0f', number)
end

-- Move the session of an entry to the top of the session list. Scores are unique, so that they serve as page cursors.
-- `only_listed`: do not add a session that is not listed, such as a deleted one.
local function touch(id, only_listed)
    local top = redis.call('ZRANGE', SESSIONS, -1, -1, 'WITHSCORES')
    local score = math.max(now_us(), tonumber(top[2] or 0) + 1)
    redis.call('ZADD', SESSIONS, only_listed and 'XX' or 'CH', int(score), string.match(id, '^[^/]*'))
end

local function wake(count)
    if count > 0 and redis.call('LLEN', WAKE) < WAKE_LIMIT then
        local ones = {}
        for i = 1, math.min(count, WAKE_LIMIT) do ones[i] = '1' end
        redis.call('LPUSH', WAKE, unpack(ones))
    end
end

local function make_ready(id, lane)
    redis.call('ZADD', READY .. lane, int(now_us()), id)
    redis.call('SADD', LANES, lane)
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
        if replaced == 0 then payload = '{' .. try .. ',"f":"' .. ANY .. '","a":[],"k":{},"et":0}' end
        redis.call('HSET', ENTRIES, id, payload)
    end
    return payload
end
