#!lua
-- Record what a step of the running job came to, so that no later attempt runs it again.
-- ARGV: epoch, key, value. Answers {'ok'}, {'fenced'} or {'gone'}.
local epoch = redis.call('HGET', STATE, 'epoch')
if not epoch then return {'gone'} end
if epoch ~= ARGV[1] then return {'fenced'} end
redis.call('HSETNX', JOURNAL, ARGV[2], ARGV[3])
return {'ok'}
