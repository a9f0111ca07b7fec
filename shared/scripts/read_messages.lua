#!lua flags=no-writes
-- What a conversation is read from, at one moment. A script and no transaction: Redis refuses MULTI at maxmemory.
-- Answers {'unknown_session'} or {'ok', top, job at the head of the line if it has begun, stored messages}.
local state = redis.call('HMGET', STATE, 'created', 'top', 'deleted')
if not state[1] or state[3] then return {'unknown_session'} end
local job = redis.call('LINDEX', LINE, 0)
local begun = job and job_get(job, 'first')[1]
return {'ok', newest(state[2]), begun and job or '', redis.call('LRANGE', MESSAGES, 0, -1)}
