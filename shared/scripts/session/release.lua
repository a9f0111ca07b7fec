#!lua flags=allow-oom
-- Release the session without an end and without a strike. Advances the epoch, so that the attempt can write no more.
-- ARGV: epoch. Returns {'ok'} or {'fenced'}.
local state = redis.call('HMGET', STATE, 'epoch', 'job')
if state[1] ~= ARGV[1] then return {'fenced'} end
fence()
if state[2] then
    redis.call('HDEL', JOBS, state[2] .. ':open', state[2] .. ':worker')
    job_set(state[2], 'status', job_get(state[2], 'question')[1] and 'waiting' or 'queued')
end
return {'ok'}
