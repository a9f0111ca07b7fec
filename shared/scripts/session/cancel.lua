#!lua flags=allow-oom
-- Write the intent to cancel a job. At maxmemory too.
-- ARGV: job, by. Returns {'ok', status, lease owner}, {'unknown_session'} or {'unknown_job'}.
local job, by = ARGV[1], ARGV[2]
local state, refusal = session('worker')
if refusal then return refusal end
local record = job_get(job, 'status', 'end', 'cancel')
if not record[1] then return {'unknown_job'} end
if not record[2] and not record[3] then
    job_set(job, 'cancel', by, 'cancel_at', int(now_ms()))
    redis.call('HSET', STATE, 'attention', '1')
end
return {'ok', record[1], state[3] or ''}
