#!lua flags=no-writes
-- Read a job's record. A script and no transaction, see read_messages.lua.
-- ARGV: job, field... Returns {'ok', top, {job, position or nil, value...}}, {'unknown_session'} or {'unknown_job'}.
local state, refusal = session('top')
if refusal then return refusal end
local record = job_record(ARGV[1], 2)
if not record then return {'unknown_job'} end
return {'ok', newest(state[3]), record}
