#!lua
-- Append another start of the running attempt, which discards the job's events from an id on.
-- ARGV: epoch, seq that it follows, job, body, discard_from. Returns {'ok', seq}, {'fenced'}, {'behind', top} or {'gone'}.
local epoch, after, job, body, from = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local state = redis.call('HMGET', STATE, 'epoch', 'top', 'job')
if not state[1] then return {'gone'} end
if state[1] ~= epoch then return {'fenced'} end
if not state[3] then return {'fenced'} end -- an attempt writes nothing after the end of its job
local seq, top = written(epoch, state[2])
if not seq then return {'fenced'} end
if seq < after then return behind(epoch, after, top) end
if seq == after then
    local id = epoch .. '-' .. int(after + 1)
    if not redis.call('XADD', LOG, 'NOMKSTREAM', id, job .. ' job.started', body) then return {'gone'} end
    redis.call('HSET', STATE, 'top', id)
    discard(job, from, id)
    job_set(job, 'resume', job_get(job, 'attempt')[1] .. ' ' .. from)
end
return {'ok', int(after + 1)}
