#!lua flags=allow-oom
-- Append the terminal event of a job, close its record and store its messages, under the fence. At maxmemory too.
-- ARGV: epoch, seq that it follows, job, kind, body, usage, retention ttl s, messages limit, message...
-- Returns {'ok', seq, head...}, {'ended', head...} (it had ended before), {'fenced'}, {'behind', top} or {'gone'}.
local epoch, after, job, kind, body, usage = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local state = redis.call('HMGET', STATE, 'epoch', 'top')
if not state[1] then return {'gone'} end
if state[1] ~= epoch then return {'fenced'} end
local seq, top = written(epoch, state[2])
if not seq then return {'fenced'} end
local ended = job_get(job, 'end')[1]
if ended == epoch .. '-' .. int(after + 1) then return {'ok', int(after + 1), unpack(head())} end
if ended then return {'ended', unpack(head())} end
if seq < after then return behind(epoch, after, top) end
local id = epoch .. '-' .. int(seq + 1) -- also after events that this attempt wrote and gave up before they were acknowledged
if not redis.call('XADD', LOG, 'NOMKSTREAM', id, job .. ' ' .. kind, body) then return {'gone'} end
redis.call('HSET', STATE, 'top', id)
end_job(job, top, id, kind, body, usage, ARGV[7], tonumber(ARGV[8]), ARGV, 9)
return {'ok', int(seq + 1), unpack(head())}
