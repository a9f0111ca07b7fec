#!lua flags=allow-oom
-- Write the intent to delete the session. Returns {'ok', lease owner} or {'unknown_session'}.
local refusal = newer()
if refusal then return refusal end
local state = redis.call('HMGET', STATE, 'created', 'worker')
if not state[1] then return {'unknown_session'} end
redis.call('HSET', STATE, 'deleted', '1', 'attention', '1')
return {'ok', state[2] or ''}
