#!lua
-- Claim the session for one attempt at the head of its backlog: start a new epoch and append its first entry.
-- ARGV: job, delivery, claim_id, worker, random, offered (1, 0, empty: yes, but there is no memory), max attempts, queue ms,
--       ask ms, retention ttl s, messages limit; to end the job instead: reason, kind, detail (a piece of JSON), message...
-- Returns {'run', epoch, attempt, agent, input, options, metadata, timeout_s, discard_from, last, first,
--   budget, spent, traceparent, after, models, client},
--   {'doomed', reason, by, before} (call again with that reason), {'ended', head...}, {'unknown', head...}, {'deleted'},
--   {'wait', head...}, {'stale', delivery}, {'unoffered'}, {'parked', delivery} (waits for an answer, which makes its
--   entry visible).
local refusal = newer()
if refusal then return refusal end
local job, delivery, claim_id, worker, random = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], tonumber(ARGV[5])
local offered, max_attempts, queue_ms = ARGV[6], tonumber(ARGV[7]), tonumber(ARGV[8])
local ask_ms, ttl_s, messages_limit = tonumber(ARGV[9]), ARGV[10], tonumber(ARGV[11])
local reason, kind, detail = ARGV[12] or '', ARGV[13] or '', ARGV[14] or ''

local state = redis.call('HMGET', STATE, 'epoch', 'token', 'top', 'deleted')
local epoch, held_by = state[1], state[2]
if state[4] then return {'deleted'} end
local record = job_get(job, 'status', 'delivery', 'attempt', 'strikes', 'open', 'cancel', 'created_at', 'first', 'agent',
    'input', 'options', 'metadata', 'timeout_s', 'end', 'before', 'asked_at', 'resume', 'budget', 'spent',
    'traceparent', 'after', 'models', 'client')
local status, known_delivery, attempt, first, agent = record[1], record[2], record[3], record[8], record[9]
if not status then return {'unknown', unpack(head())} end
if record[14] then return {'ended', unpack(head())} end

-- The id from which the next start discards: after the last recorded step, else the job's first event. A record is valid
-- for the attempt that wrote it and its successor; a worker that does not know of records discards everything.
local function resume_from()
    local by, id = string.match(record[17] or '', '^(%d+) (%S+)$')
    return by == attempt and id or first
end

local function run_answer(strikes)
    local discard_from = tonumber(attempt) > 1 and resume_from() or ''
    return {'run', epoch, attempt, agent, record[10], record[11], record[12], record[13], discard_from,
        strikes + 1 >= max_attempts and '1' or '', first, record[18] or '', record[19] or '', record[20] or '', record[21],
        record[22] or '', record[23] or ''}
end

local strikes = tonumber(record[4] or 0)
if held_by == claim_id and reason == '' then return run_answer(strikes) end -- the reply was lost and the call repeated
if redis.call('LINDEX', BACKLOG, 0) ~= job then return {'wait', unpack(head())} end
if delivery <= tonumber(known_delivery) and held_by ~= claim_id then return {'stale', known_delivery} end

-- An attempt that neither ended nor released the session has died: a strike.
local struck = record[5] and held_by ~= claim_id
if struck then strikes = strikes + 1 end
local now = now_ms()
local doom = ''
if record[6] then doom = 'cancelled'
elseif (reason == 'log_lost' or reason == 'log_error' or reason == 'data_key_gone'
    or reason == 'seal_broken') and held_by == claim_id then doom = reason
elseif record[16] and now - tonumber(record[16]) > ask_ms then doom = 'unanswered'
elseif record[16] then doom = 'parked'
elseif strikes >= max_attempts then doom = 'exhausted'
elseif (tonumber(attempt) == 0 or offered == '0') and now - tonumber(record[7]) > queue_ms then doom = 'expired' end
if doom == 'parked' then -- the attempt that waited for the answer is gone; fence it
    fence()
    redis.call('HDEL', JOBS, job .. ':open', job .. ':worker')
    job_set(job, 'delivery', int(delivery))
    return {'parked', int(delivery)}
end
if doom == '' and offered ~= '1' then return {'unoffered'} end
if doom ~= reason then return {'doomed', doom, record[6] or '', record[15] or ''} end

local top = newest(state[3])
local lost = top ~= '0-0' and redis.call('EXISTS', LOG) == 0
epoch = next_epoch(epoch, top, random)
local id = epoch .. '-1'
local common = ',"job_id":' .. cjson.encode(job) .. ',"at":' .. int(now) .. ',"prev":"' .. top .. '"'
    .. (lost and ',"log_lost":true' or '')

if doom ~= '' then
    local body = '{"type":"' .. kind .. '"' .. common .. ',' .. detail .. '}'
    redis.call('XADD', LOG, id, job .. ' ' .. kind, body, 'p', top, 'v', SCHEMA)
    redis.call('HSET', STATE, 'epoch', epoch, 'token', claim_id, 'top', id, 'schema', SCHEMA)
    redis.call('HDEL', STATE, 'job', 'worker')
    end_job(job, top, id, kind, body, '', ttl_s, messages_limit, ARGV, 15)
    return {'ended', unpack(head())}
end

local last = last_run()
if not record[21] then record[21] = last
elseif not first and record[21] ~= last then redis.call('HSET', STATE, 'branched', '1') end

local discard_from = ''
if first then
    discard_from = lost and first or resume_from()
    discard(job, discard_from, id)
else
    first = id
    job_set(job, 'before', top, 'first', id, 'started_at', int(now))
end
if struck then job_set(job, 'struck', attempt) end -- see forgive.lua
attempt = int(tonumber(attempt) + 1)
record[17] = attempt .. ' ' .. (discard_from ~= '' and discard_from or first)
local body = '{"type":"job.started"' .. common .. ',"agent":' .. cjson.encode(agent) .. ',"attempt":' .. attempt
    .. ',"after":' .. (record[21] ~= '' and cjson.encode(record[21]) or 'null')
    .. (discard_from ~= '' and ',"discard_from":"' .. discard_from .. '"' or '')
    .. ',"input":'
if is_sealed(record[10]) then -- readers complete the event, see shared/log/sealed_entries.py
    redis.call('XADD', LOG, id, job .. ' job.started', body, 'p', top, 'v', SCHEMA, 'input', record[10])
else
    redis.call('XADD', LOG, id, job .. ' job.started', body .. record[10] .. '}', 'p', top, 'v', SCHEMA)
end
redis.call('HSET', STATE, 'epoch', epoch, 'token', claim_id, 'top', id, 'job', job, 'worker', worker, 'schema', SCHEMA,
    'last', job)
job_set(job, 'status', 'running', 'attempt', attempt, 'delivery', int(delivery), 'worker', worker,
    'open', '1', 'strikes', int(strikes), 'resume', record[17], 'after', record[21])
redis.call('HDEL', JOBS, job .. ':started') -- written by workers of schema 0: all before it is discarded
return run_answer(strikes)
