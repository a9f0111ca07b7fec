-- Prelude of the session scripts, loaded before each of them.
-- KEYS: those of SessionKeys in shared/keys.py, in that order; only the first two where a script needs no others.
local SCHEMA = 2 -- as in shared/schema.py
local CONVERSATION_BYTES = 4 * 1024 * 1024 -- as in shared/log/conversation.py
local SEAL_BYTES = 37 -- as in shared/sealing.py
local LOG, STATE, BACKLOG, JOBS, ORDER, MESSAGES, IDEMPOTENCY, JOURNAL = unpack(KEYS)

-- The refusal of a session with a newer schema version, which is left to newer processes. Scripts that compare the epoch
-- need no such guard.
local function newer()
    local schema = redis.call('HGET', STATE, 'schema')
    if schema and tonumber(schema) > SCHEMA then return redis.error_reply('HOLDFASTSCHEMA ' .. schema) end
end

-- Read the fields created, deleted and these of a session's state. Returns nil and the refusal where the session does not
-- exist or is being deleted.
local function session(...)
    local refusal = newer()
    if refusal then return nil, refusal end
    local state = redis.call('HMGET', STATE, 'created', 'deleted', ...)
    if not state[1] or state[2] then return nil, {'unknown_session'} end
    return state
end

local function int(number)
    return string.format('%.0f', number)
end

local function now_ms()
    local time = redis.call('TIME')
    return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function parts(id)
    local epoch, seq = string.match(id, '^(%d+)-(%d+)$')
    return tonumber(epoch), tonumber(seq)
end

local function job_get(job, ...)
    local fields = {}
    for i, name in ipairs({...}) do fields[i] = job .. ':' .. name end
    return redis.call('HMGET', JOBS, unpack(fields))
end

local function job_set(job, ...)
    local pairs_ = {...}
    for i = 1, #pairs_, 2 do pairs_[i] = job .. ':' .. pairs_[i] end
    redis.call('HSET', JOBS, unpack(pairs_))
end

local last_found, in_front -- read once in a call

-- The job that was the last to start, or '' where none has. Workers of schema 1 did not record it: then the newest that has
-- ended after a start, which is behind the open ones. Where a call ends several jobs, the one that has started is the first.
local function last_run()
    last_found = last_found or redis.call('HGET', STATE, 'last')
    if last_found then return last_found end
    last_found = ''
    for at = redis.call('LLEN', ORDER) - 1, 0, -1 do
        local job = redis.call('LINDEX', ORDER, at)
        local record = job_get(job, 'end', 'attempt')
        if record[1] and record[2] ~= '0' then
            last_found = job
            break
        end
    end
    return last_found
end

-- The job that runs last of those that are known: a job that names none follows it.
local function newest_job()
    return redis.call('LINDEX', BACKLOG, -1) or redis.call('HGET', STATE, 'last') or redis.call('LINDEX', ORDER, -1) or ''
end

-- The job in front of one in the backlog, '' for the first, nil for one that is not in it. A path may have all of its jobs.
local function job_in_front(job)
    if not in_front then
        in_front = {}
        local front = ''
        for _, waiting in ipairs(redis.call('LRANGE', BACKLOG, 0, -1)) do
            in_front[waiting], front = front, waiting
        end
    end
    return in_front[job]
end

-- The job that a job follows, or '' for none. One that named none follows the job that runs before it, which is recorded
-- once it has started. One that a worker of schema 1 ran follows the one that was accepted before it.
local function parent(job)
    local record = job_get(job, 'after', 'first')
    if record[1] then return record[1] end
    local front = not record[2] and job_in_front(job)
    if front then return front ~= '' and front or last_run() end
    local at = redis.call('LPOS', ORDER, job, 'RANK', -1)
    return at and at > 0 and redis.call('LINDEX', ORDER, at - 1) or ''
end

-- The jobs on the path to a job: this one, the one that it follows, and so on. Nil where nothing in the session has branched, so
-- that all jobs are on it. It ends where a record was deleted.
local function path(job)
    if redis.call('HGET', STATE, 'branched') ~= '1' then return end
    local jobs = {}
    for _ = 1, redis.call('LLEN', ORDER) do
        if job == '' then break end
        jobs[#jobs + 1] = job
        local record = job_get(job, 'after', 'end')
        if not record[1] and record[2] then -- workers of schema 1 ran it, and all that were accepted before it
            local place = redis.call('LPOS', ORDER, job, 'RANK', -1) or 0
            for _, other in ipairs(place > 0 and redis.call('LRANGE', ORDER, 0, place - 1) or {}) do jobs[#jobs + 1] = other end
            break
        end
        job = record[1] or parent(job)
    end
    return jobs
end

-- A job's id, its position in the backlog, and the fields that ARGV names from `first` on. Every record has the first one. What
-- the job follows is '' where the record of that one was deleted, so that it can be repeated.
local function job_record(job, first)
    local values = job_get(job, unpack(ARGV, first))
    if not values[1] then return end
    for i = first, #ARGV do
        if ARGV[i] == 'after' then
            local followed = parent(job)
            values[i - first + 1] = job_get(followed, 'status')[1] and followed or ''
        end
    end
    return {job, redis.call('LPOS', BACKLOG, job), unpack(values)}
end

-- Delete the open question of a job.
local function forget_question(job)
    redis.call('HDEL', JOBS, job .. ':question', job .. ':schema', job .. ':prompt', job .. ':asked_at')
end

-- A foreign value at the log's key must not make the records unreadable; writes fail by their XADD.
local function top_of_log()
    local last = redis.pcall('XREVRANGE', LOG, '+', '-', 'COUNT', 1)
    if last.err and not string.find(last.err, 'WRONGTYPE', 1, true) then error(last) end
    return last[1] and last[1][1] or '0-0'
end

-- The newest id of a log. `top` in the state may be older, since an append without a script does not update it. Where the
-- log has vanished, only `top` is known.
local function newest(top)
    local last = top_of_log()
    local last_epoch, last_seq = parts(last)
    local epoch, seq = parts(top or '0-0')
    if last_epoch > epoch or (last_epoch == epoch and last_seq > seq) then return last end
    return top or '0-0'
end

-- The seq of the newest entry of an epoch in the log, and the newest id. Seq is nil where a later epoch has entries.
local function written(epoch, top)
    local last = top_of_log()
    if last == '0-0' then last = top end
    local last_epoch, seq = parts(last)
    if last_epoch > tonumber(epoch) then return nil, last end
    return last_epoch == tonumber(epoch) and seq or 0, last
end

-- The reply to a writer whose events the log lacks: they are present up to `top`, or the log has vanished. In the latter
-- case the state keeps the id at which it ended.
local function behind(epoch, after, top)
    if redis.call('EXISTS', LOG) == 1 then return {'behind', top} end
    redis.call('HSET', STATE, 'top', epoch .. '-' .. int(after))
    return {'gone'}
end

-- Free the session of its lease owner. Advance the epoch without an entry, and the log's last id with it, which refuses
-- appends without a script as well.
local function fence()
    local epoch = redis.call('HINCRBY', STATE, 'epoch', 1)
    redis.pcall('XSETID', LOG, int(epoch) .. '-0') -- an error where there is no log
    redis.call('HDEL', STATE, 'job', 'worker', 'token')
end

-- Append the running attempt's event after a seq, unless it is there. Returns its id if it was appended, and a refusal if
-- there is one.
local function append_once(epoch, after, name, body)
    local state = redis.call('HMGET', STATE, 'epoch', 'top', 'job')
    if not state[1] then return nil, {'gone'} end
    if state[1] ~= epoch or not state[3] then return nil, {'fenced'} end -- an attempt writes nothing after the end of its job
    local seq, top = written(epoch, state[2])
    if not seq then return nil, {'fenced'} end
    if seq < after then return nil, behind(epoch, after, top) end
    if seq > after then return end
    local id = epoch .. '-' .. int(after + 1)
    if not redis.call('XADD', LOG, 'NOMKSTREAM', id, name, body) then return nil, {'gone'} end
    redis.call('HSET', STATE, 'top', id)
    return id
end

-- The next epoch: later than all before, and with high probability unlike that of another server.
local function next_epoch(epoch, top, random)
    local last = math.max(tonumber(epoch or 0), (parts(top)))
    return int(math.max(now_ms(), last + 1) + random)
end

-- Whether one id is lower than another.
local function before(id, other)
    local epoch, seq = parts(id)
    local other_epoch, other_seq = parts(other)
    return epoch < other_epoch or (epoch == other_epoch and seq < other_seq)
end

-- Record that a start discards its job's events from an id on. Ranges after this id become part of the new one.
local function discard(job, from, start)
    local ranges = {}
    for first, ended in string.gmatch(job_get(job, 'discards')[1] or '', '(%S+) (%S+)') do
        if before(first, from) then ranges[#ranges + 1] = first .. ' ' .. ended end
    end
    ranges[#ranges + 1] = from .. ' ' .. start
    job_set(job, 'discards', table.concat(ranges, ' '))
end

-- Run a command on one key that this script may have deleted. While a slot of a cluster moves, its nodes refuse a missing
-- key in the middle of a script, which counts as an empty reply.
local function tolerant(...)
    local reply = redis.pcall(...)
    if type(reply) ~= 'table' or not reply.err then return reply end
    if not string.find(reply.err, 'non local key', 1, true) then error(reply) end
end

-- The head of the backlog as {job, agent}, or nothing.
local function head()
    local job = tolerant('LINDEX', BACKLOG, 0)
    if not job then return {} end
    return {job, job_get(job, 'agent')[1]}
end

-- The cancelled jobs of the backlog up to the position `last` (-1: all), in order, each as {job, by}.
local function cancelled(last)
    local found, backlog = {}, redis.call('LRANGE', BACKLOG, 0, last)
    local CHUNK = 1000 -- jobs per command: a long backlog does not fit on Lua's stack
    for first = 1, #backlog, CHUNK do
        local names = {}
        for i = first, math.min(first + CHUNK - 1, #backlog) do names[#names + 1] = backlog[i] .. ':cancel' end
        for i, by in ipairs(redis.call('HMGET', JOBS, unpack(names))) do
            if by then found[#found + 1] = {backlog[first + i - 1], by} end
        end
    end
    return found
end

-- Whether a value is encrypted, see shared/sealing.py.
local function is_sealed(value)
    return string.byte(value) == 1
end

-- The size of a value without its encryption, so that limits are the same with and without.
local function size_of(value)
    return is_sealed(value) and #value - SEAL_BYTES or #value
end

-- The size of the conversation in bytes. Workers of schema 0 did not record it.
local function stored_bytes()
    local size = 0
    for i = 0, redis.call('LLEN', MESSAGES) - 1 do size = size + size_of(redis.call('LINDEX', MESSAGES, i)) end
    return size
end

-- Add messages to the conversation. Only the newest are kept: up to messages_limit, and CONVERSATION_BYTES of JSON.
local function remember(messages, from, messages_limit)
    local size = tonumber(redis.call('HGET', STATE, 'messages_bytes') or stored_bytes())
    for i = from, #messages do
        redis.call('RPUSH', MESSAGES, messages[i])
        size = size + size_of(messages[i])
    end
    local count = redis.call('LLEN', MESSAGES)
    while count > messages_limit or size > CONVERSATION_BYTES and count > 0 do
        size = size - size_of(redis.call('LPOP', MESSAGES))
        count = count - 1
    end
    redis.call('HSET', STATE, 'messages_bytes', int(size))
end

-- Record the end of a job, remove it from the backlog, and let the session expire when no job is left. `top`: the event
-- before that of its end.
local function end_job(job, top, id, kind, body, usage, ttl_s, messages_limit, messages, from)
    if not job_get(job, 'first')[1] then
        if not job_get(job, 'after')[1] then job_set(job, 'after', last_run()) end
        job_set(job, 'before', top, 'first', id)
    end
    job_set(job, 'status', string.sub(kind, 5), 'end', id, 'end_body', body, 'ended_at', int(now_ms()))
    if usage ~= '' then job_set(job, 'usage', usage) end
    redis.call('HDEL', JOBS, job .. ':open')
    forget_question(job)
    if job_get(job, 'attempt')[1] ~= '0' then redis.call('DEL', JOURNAL) end -- it belongs to the head, the only job that ever ran
    local left = redis.call('LLEN', BACKLOG)
    left = left - redis.call('LREM', BACKLOG, 1, job) -- from the head: where the jobs end in order, each is found at once
    if from <= #messages then remember(messages, from, messages_limit) end
    if redis.call('HGET', STATE, 'job') == job then redis.call('HDEL', STATE, 'job', 'worker') end
    if left == 0 then
        redis.call('HDEL', STATE, 'attention')
        for i = 1, #KEYS do tolerant('EXPIRE', KEYS[i], ttl_s) end
    end
end
