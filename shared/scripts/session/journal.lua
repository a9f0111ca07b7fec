#!lua
-- Record results of steps of the running job, so that no later attempt runs them again. A takeover discards nothing below
-- `resume`: all events before it are in the log.
-- ARGV: epoch, resume (an id), then key, value and mark of each step. The first value of a step is kept, and its last mark.
-- Returns {'ok'}, {'fenced'} or {'gone'}.
local resume = ARGV[2]
local state = redis.call('HMGET', STATE, 'epoch', 'job')
if not state[1] then return {'gone'} end
if state[1] ~= ARGV[1] then return {'fenced'} end
local job = state[2]
if not job then return {'fenced'} end -- an attempt writes nothing after the end of its job
for i = 3, #ARGV, 3 do
    redis.call('HSETNX', JOURNAL, 'step:' .. ARGV[i], ARGV[i + 1])
    redis.call('HSET', JOURNAL, 'mark:' .. ARGV[i], ARGV[i + 2])
end
local record = job_get(job, 'attempt', 'resume')
local by, known = string.match(record[2] or '', '^(%d+) (%S+)$')
if by ~= record[1] or before(known, resume) then job_set(job, 'resume', record[1] .. ' ' .. resume) end
return {'ok'}
