#!lua flags=no-writes
-- Read a session: the ids of its jobs, and the record of the head of the backlog, else of the last job.
-- ARGV: field... Returns {'ok', top, created, job ids, backlog, {job, position or nil, value...}} or {'unknown_session'}.
local state, refusal = session('top')
if refusal then return refusal end
local backlog = redis.call('LRANGE', BACKLOG, 0, -1)
local ids = redis.call('LRANGE', ORDER, 0, -1)
local job = backlog[1] or ids[#ids]
local record = job and job_record(job, 1)
if not record then return {'unknown_session'} end -- only its state is left
return {'ok', newest(state[3]), state[1], ids, backlog, record}
