#!lua flags=allow-oom
-- Record what all attempts of the running job have used so far, under the fence. Repeating it changes nothing.
-- ARGV: epoch, amounts (JSON). Returns {'ok'}, {'fenced'} or {'gone'}.
local state = redis.call('HMGET', STATE, 'epoch', 'job')
if not state[1] then return {'gone'} end
if state[1] ~= ARGV[1] or not state[2] then return {'fenced'} end
job_set(state[2], 'spent', ARGV[2])
return {'ok'}
