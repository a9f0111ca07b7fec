#!lua flags=allow-oom
-- What the holder is asked to do. ARGV: epoch. Answers {'ok', deleted, job, by, ...} or {'fenced'}.
local state = redis.call('HMGET', STATE, 'epoch', 'deleted')
if state[1] ~= ARGV[1] then return {'fenced'} end
redis.call('HDEL', STATE, 'attention')
local answer = {'ok', state[2] or ''}
for _, job in ipairs(redis.call('LRANGE', LINE, 0, -1)) do
    local by = job_get(job, 'cancel')[1]
    if by then
        answer[#answer + 1] = job
        answer[#answer + 1] = by
    end
end
return answer
