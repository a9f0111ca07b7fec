#!lua
-- Append a question to a person, and mark the job as waiting for the answer.
-- ARGV: epoch, seq that it follows, job, question, body, schema of the answer, prompt (JSON both).
-- Returns {'ok', seq}, {'fenced'}, {'behind', top} or {'gone'}.
local epoch, after, job, question, body, schema = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local prompt = ARGV[7]
local state = redis.call('HMGET', STATE, 'epoch', 'top', 'job')
if not state[1] then return {'gone'} end
if state[1] ~= epoch then return {'fenced'} end
if not state[3] then return {'fenced'} end -- an attempt writes nothing after the end of its job
local seq, top = written(epoch, state[2])
if not seq then return {'fenced'} end
if seq < after then return behind(epoch, after, top) end
if seq == after then
    local id = epoch .. '-' .. int(after + 1)
    if not redis.call('XADD', LOG, 'NOMKSTREAM', id, job .. ' question.asked', body) then return {'gone'} end
    redis.call('HSET', STATE, 'top', id)
    if redis.call('HEXISTS', JOURNAL, 'question:' .. question) == 0 then
        job_set(job, 'status', 'waiting', 'question', question, 'schema', schema, 'prompt', prompt, 'asked_at',
            int(now_ms()))
    end
end
return {'ok', int(after + 1)}
