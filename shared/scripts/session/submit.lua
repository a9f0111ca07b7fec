#!lua
-- Accept a job: check idempotency, create the record, add it to the backlog. A missing session is created.
-- ARGV: job, agent, input, options, metadata, timeout_s, on_busy, idempotency key, digest, key lifetime ms, backlog limit, records limit, title of a new session,
-- webhook (may be empty), budget (JSON, may be empty), traceparent (may be empty), the job that it follows (empty: none, -: the newest),
-- models and client (JSON, may be empty), then the names of all fields of a record
-- Returns {'ok'|'replayed', job, status, position, top, worker to notify}, {'mismatch'}, {'busy'}, {'full'}, {'deleted'} or
-- {'unknown_job'} (the one to follow).
local refusal = newer()
if refusal then return refusal end
local job, agent, input, options, metadata, timeout_s = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local on_busy, key, digest = ARGV[7], ARGV[8], ARGV[9]
local key_lifetime_ms, backlog_limit, records_limit = tonumber(ARGV[10]), tonumber(ARGV[11]), tonumber(ARGV[12])
local after = ARGV[17]
local now = now_ms()
local MAX_OVERTAKES = 10

local state = redis.call('HMGET', STATE, 'created', 'top', 'deleted', 'worker')
local created, top, deleted, worker = state[1], newest(state[2]), state[3], state[4] or ''
if deleted then return {'deleted'} end

local function answer(word, of)
    local position = redis.call('LPOS', BACKLOG, of)
    local status = job_get(of, 'status')[1]
    return {word, of, status, position or 0, top, ''}
end

if job_get(job, 'status')[1] then return answer('ok', job) end -- the reply was lost and the call repeated
if key ~= '' then
    local known = redis.call('HGET', IDEMPOTENCY, key)
    if known then
        local of, its_digest, at = string.match(known, '^(%S+) (%S+) (%d+)$')
        if now - tonumber(at) < key_lifetime_ms and job_get(of, 'status')[1] then
            if its_digest ~= digest then return {'mismatch'} end
            return answer('replayed', of)
        end
    end
end

if after ~= '-' and after ~= '' and not job_get(after, 'status')[1] then return {'unknown_job'} end
local length = redis.call('LLEN', BACKLOG)

local function cancel(of, by)
    job_set(of, 'cancel', by, 'cancel_at', int(now))
    redis.call('HSET', STATE, 'attention', '1')
end

local function first_waiting()
    for _, waiting in ipairs(redis.call('LRANGE', BACKLOG, 1, -1)) do
        if not job_get(waiting, 'cancel')[1] then return waiting end
    end
end

-- Cancel the head, and an older interrupting job that has not started, whose position the new one takes. `overtakes` counts
-- the interrupting jobs that started in a row before the same waiting job. After MAX_OVERTAKES of them the next one is
-- placed after that job, so that it starts.
local function interrupt()
    local running, older = redis.call('LINDEX', BACKLOG, 0), redis.call('HGET', STATE, 'interrupt') or ''
    local known = job_get(older, 'attempt', 'end', 'cancel', 'overtakes')
    local side, place, overtakes = 'AFTER', running, 0
    if known[1] == '0' and not known[2] and not known[3] then
        cancel(older, 'superseded')
        overtakes = tonumber(known[4])
        if older ~= running then side, place = 'BEFORE', older end
    elseif length > 1 then
        overtakes = tonumber(job_get(running, 'overtakes')[1] or 0) + 1
        if overtakes > MAX_OVERTAKES then place, overtakes = first_waiting() or running, 0 end
    end
    if not job_get(running, 'cancel')[1] then cancel(running, 'interrupt') end
    redis.call('LINSERT', BACKLOG, side, place, job)
    return overtakes
end

-- A job never runs before the one that it follows: behind one that waits, it only cancels the head.
local function interrupt_behind(waiting)
    local running = redis.call('LINDEX', BACKLOG, 0)
    if not job_get(running, 'cancel')[1] then cancel(running, 'interrupt') end
    redis.call('LINSERT', BACKLOG, 'AFTER', waiting, job)
end

if on_busy == 'reject' and length > 0 then return {'busy'} end
if length >= backlog_limit then return {'full'} end

if not created then
    redis.call('HSET', STATE, 'created', int(now), 'title', ARGV[13], 'top', top) -- not 0-0 in the minute after the session's deletion
end
for i = 1, #KEYS do redis.call('PERSIST', KEYS[i]) end

job_set(job, 'agent', agent, 'input', input, 'options', options, 'metadata', metadata, 'timeout_s', timeout_s,
    'status', 'queued', 'created_at', int(now), 'attempt', '0', 'delivery', '0')
if ARGV[14] ~= '' then job_set(job, 'webhook', ARGV[14]) end
if ARGV[15] ~= '' then job_set(job, 'budget', ARGV[15]) end
if ARGV[16] ~= '' then job_set(job, 'traceparent', ARGV[16]) end
if ARGV[18] ~= '' then job_set(job, 'models', ARGV[18]) end
if ARGV[19] ~= '' then job_set(job, 'client', ARGV[19]) end
if after ~= '-' then
    redis.call('HSET', STATE, 'schema', SCHEMA)
    if after ~= newest_job() then redis.call('HSET', STATE, 'branched', '1') end
    job_set(job, 'after', after)
end
if key ~= '' then
    redis.call('HSET', IDEMPOTENCY, key, job .. ' ' .. digest .. ' ' .. int(now))
    job_set(job, 'key', key)
end
redis.call('RPUSH', ORDER, job)

local notify, overtakes = '', 0
local waits = on_busy == 'interrupt' and (redis.call('LPOS', BACKLOG, after) or 0) > 0
if waits then
    notify = worker
    interrupt_behind(after)
elseif on_busy == 'interrupt' and length > 0 then
    notify, overtakes = worker, interrupt()
else
    redis.call('RPUSH', BACKLOG, job)
end
if on_busy == 'interrupt' and not waits then
    job_set(job, 'overtakes', int(overtakes))
    redis.call('HSET', STATE, 'interrupt', job)
end

-- Delete the record of the oldest job, if it has ended, once there are too many records.
if redis.call('LLEN', ORDER) > records_limit then
    local oldest = redis.call('LINDEX', ORDER, 0)
    local record = job_get(oldest, 'end', 'key')
    if record[1] then
        redis.call('LPOP', ORDER)
        if record[2] then
            local known = redis.call('HGET', IDEMPOTENCY, record[2])
            if known and string.match(known, '^%S+') == oldest then redis.call('HDEL', IDEMPOTENCY, record[2]) end
        end
        for i = 20, #ARGV do redis.call('HDEL', JOBS, oldest .. ':' .. ARGV[i]) end
    end
end

local reply = answer('ok', job)
reply[6] = notify
return reply
