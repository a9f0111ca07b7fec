#!lua
-- Record what a step of the running job came to, so that no later attempt runs it again.
-- ARGV: epoch, key, value. Answers {'ok'}, {'fenced'} or {'gone'}.
local state = redis.call('HMGET', STATE, 'epoch', 'job')
if not state[1] then return {'gone'} end
if state[1] ~= ARGV[1] then return {'fenced'} end
if not state[2] then return {'fenced'} end -- nobody writes behind the end of its job
redis.call('HSETNX', JOURNAL, ARGV[2], ARGV[3])
return {'ok'}
