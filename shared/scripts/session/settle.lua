#!lua flags=allow-oom
-- Carry out the intents of a session without a lease owner: end its cancelled jobs, or delete it.
-- Ends at most PIECE jobs per call, and only those whose queue entries were retired before: after a crash in between, the
-- next call finds the same jobs again.
-- ARGV: claim_id, random, ms for which a cancelled attempt may still end itself, retention ttl s, messages limit, seconds that a deleted log
--       stays, count of the retired jobs, retired job..., then a job that has started, and the messages of its events
-- Returns {'ok', count, ended job..., head...}, {'more', count, ended job...} (call again),
--   {'retire', count, job...} (retire the entries of these jobs and call again with them),
--   {'held', 0} (its lease owner carries them out), {'nothing', 0, head...} or
--   {'turn', 0, job}: the session is fenced, call again with the messages of that job.
local refusal = newer()
if refusal then return refusal end
local claim_id, random, patience_ms, ttl_s = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3]), ARGV[4]
local messages_limit, deleted_ttl_s, retired_count = tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local turn_at = 8 + retired_count
local turn_job = ARGV[turn_at]
local PIECE = 100 -- jobs: about 5 ms
local state = redis.call('HMGET', STATE, 'epoch', 'top', 'deleted', 'job', 'created', 'emptied', 'tickets')
if not state[5] then return {'nothing', '0'} end
local top, deleted, holds = newest(state[2]), state[3], state[4]
local now = now_ms()

local retired = {}
for i = 8, turn_at - 1 do retired[ARGV[i]] = true end

local doomed = {}
if deleted then
    for _, job in ipairs(redis.call('LRANGE', BACKLOG, 0, PIECE)) do
        doomed[#doomed + 1] = {job, job_get(job, 'cancel')[1] or 'deleted'}
    end
else
    doomed = cancelled(-1)
    for _, entry in ipairs(doomed) do
        if entry[1] == holds and now - tonumber(job_get(holds, 'cancel_at')[1]) >= patience_ms then
            holds = nil
            break
        end
    end
end
local more = #doomed > PIECE
for i = #doomed, PIECE + 1, -1 do doomed[i] = nil end
if not deleted and #doomed == 0 then return {'nothing', '0', unpack(head())} end
if not deleted and holds then return {'held', '0'} end

local function answer(word)
    local parts_ = {word, int(#doomed)}
    for _, entry in ipairs(doomed) do parts_[#parts_ + 1] = entry[1] end
    return parts_
end

for _, entry in ipairs(doomed) do
    if not retired[entry[1]] then return answer('retire') end
end
for _, entry in ipairs(doomed) do
    if not deleted and entry[1] ~= turn_job and job_get(entry[1], 'first')[1] then
        fence()
        return {'turn', '0', entry[1]}
    end
end

if deleted and type(redis.pcall('XLEN', LOG)) == 'table' then redis.call('DEL', LOG) end -- a value of another type is deleted as well
local lost = top ~= '0-0' and redis.call('EXISTS', LOG) == 0
local epoch = next_epoch(state[1], top, random)
local seq = 0
local function add(kind, job, rest, ...)
    seq = seq + 1
    local id = epoch .. '-' .. int(seq)
    local body = '{"type":"' .. kind .. '"' .. (job ~= '' and ',"job_id":' .. cjson.encode(job) or '')
        .. ',"at":' .. int(now) .. rest
    if seq == 1 then
        body = body .. ',"prev":"' .. top .. '"' .. (lost and ',"log_lost":true' or '') .. '}'
        redis.call('XADD', LOG, id, job .. ' ' .. kind, body, 'p', top, 'v', SCHEMA, ...)
    else
        body = body .. '}'
        redis.call('XADD', LOG, id, job .. ' ' .. kind, body, ...)
    end
    return id, body
end

redis.call('HSET', STATE, 'epoch', epoch, 'token', claim_id, 'schema', SCHEMA)
redis.call('HDEL', STATE, 'job', 'worker')
if not more then redis.call('HDEL', STATE, 'attention') end
for _, entry in ipairs(doomed) do
    local id, body = add('job.cancelled', entry[1], ',"by":' .. cjson.encode(entry[2]))
    redis.call('HSET', STATE, 'top', id)
    end_job(entry[1], top, id, 'job.cancelled', body, '', ttl_s, messages_limit, entry[1] == turn_job and ARGV or {}, turn_at + 1)
end

if not deleted then
    if more then return answer('more') end
    local reply = answer('ok')
    for _, part in ipairs(head()) do reply[#reply + 1] = part end
    return reply
end

-- The terminal events stay with the last event, so that a live viewer gets no gap. All other content is gone.
if not more then add('session.deleted', '', '', unpack(state[7] and {'t', state[7]} or {})) end
if not state[6] then redis.call('XTRIM', LOG, 'MAXLEN', '=', seq) end
if more then
    redis.call('HSET', STATE, 'emptied', '1')
    return answer('more')
end
for i = 2, #KEYS do tolerant('DEL', KEYS[i]) end -- all but the log
redis.call('EXPIRE', LOG, deleted_ttl_s)
return answer('ok')
