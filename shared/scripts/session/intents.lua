#!lua flags=allow-oom
-- Read the intents for the lease owner. ARGV: epoch. Returns {'ok', deleted, job, by, ...} or {'fenced'}.
local state = redis.call('HMGET', STATE, 'epoch', 'deleted')
if state[1] ~= ARGV[1] then return {'fenced'} end
redis.call('HDEL', STATE, 'attention')
local answer = {'ok', state[2] or ''}
for _, entry in ipairs(cancelled(-1)) do
    answer[#answer + 1] = entry[1]
    answer[#answer + 1] = entry[2]
end
return answer
