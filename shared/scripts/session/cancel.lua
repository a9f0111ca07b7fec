#!lua flags=allow-oom
-- Write the intent to cancel a job. At maxmemory too.
-- ARGV: job, by, question (empty: any; else only if it is the open one). Returns {'ok', status, lease owner}, {'answered'}
-- (or cancelled before), {'unasked'}, {'unknown_session'} or {'unknown_job'}.
local job, by, question = ARGV[1], ARGV[2], ARGV[3]
local state, refusal = session('worker')
if refusal then return refusal end
local record = job_get(job, 'status', 'end', 'cancel', 'question', 'answered')
if not record[1] then return {'unknown_job'} end
if question ~= '' then
    local answered = string.find(record[5] or '', ' ' .. question .. ' ', 1, true)
    if answered or record[2] or record[3] then return {'answered'} end
    if question ~= record[4] then return {'unasked'} end
end
if not record[2] and not record[3] then
    job_set(job, 'cancel', by, 'cancel_at', int(now_ms()))
    redis.call('HSET', STATE, 'attention', '1')
end
return {'ok', record[1], state[3] or ''}
