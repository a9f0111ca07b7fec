#!lua flags=no-writes
-- Read a conversation in one snapshot. A script and no transaction: Redis refuses MULTI at maxmemory.
-- ARGV: field... Returns {'unknown_session'} or {'ok', top, stored messages, {job id...} on the path to the newest job (empty:
-- all), {job, 0, value...}}: the job at the head of the backlog, where it has started.
local state, refusal = session('top')
if refusal then return refusal end
local job = redis.call('LINDEX', BACKLOG, 0)
local begun = job and job_get(job, 'first')[1]
return {'ok', newest(state[3]), redis.call('LRANGE', MESSAGES, 0, -1), path(newest_job()) or {}, begun and job_record(job, 1)}
