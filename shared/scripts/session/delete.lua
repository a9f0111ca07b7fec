#!lua flags=allow-oom
-- Write the intent to delete the session. Returns {'ok', lease owner} or {'unknown_session'}.
-- ARGV: a job (optional): only if the session has no other one, else {'unknown_job'} or {'others'}.
local refusal = newer()
if refusal then return refusal end
local state = redis.call('HMGET', STATE, 'created', 'worker')
if not state[1] then return {'unknown_session'} end
local only = ARGV[1]
if only and not job_get(only, 'status')[1] then return {'unknown_job'} end
if only and redis.call('LLEN', ORDER) > 1 then return {'others'} end
redis.call('HSET', STATE, 'deleted', '1', 'attention', '1')
return {'ok', state[2] or ''}
