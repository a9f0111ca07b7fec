#!lua flags=allow-oom
-- Read the intents for the lease owner. ARGV: epoch. Returns {'ok', deleted, job, by, ...} or {'fenced'}.
local state = redis.call('HMGET', STATE, 'epoch', 'deleted')
if state[1] ~= ARGV[1] then return {'fenced'} end
redis.call('HDEL', STATE, 'attention')
local answer = {'ok', state[2] or ''}
local backlog = redis.call('LRANGE', BACKLOG, 0, -1)
local CHUNK = 1000 -- jobs per command: a long backlog does not fit on Lua's stack
for first = 1, #backlog, CHUNK do
    local names = {}
    for i = first, math.min(first + CHUNK - 1, #backlog) do names[#names + 1] = backlog[i] .. ':cancel' end
    for i, by in ipairs(redis.call('HMGET', JOBS, unpack(names))) do
        if by then
            answer[#answer + 1] = backlog[first + i - 1]
            answer[#answer + 1] = by
        end
    end
end
return answer
