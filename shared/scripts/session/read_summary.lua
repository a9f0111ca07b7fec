#!lua flags=no-writes
-- Read a session for a list: as read_session.lua, without the ids of its jobs.
-- ARGV: field... Returns {'ok', top, created, title or nil, {job, position or nil, value...}} or {'unknown_session'}.
local state, refusal = session('top', 'title')
if refusal then return refusal end
local job = redis.call('LINDEX', BACKLOG, 0) or redis.call('LINDEX', ORDER, -1)
local record = job and job_record(job, 1)
if not record then return {'unknown_session'} end -- only its state is left
return {'ok', newest(state[3]), state[1], state[4], record}
