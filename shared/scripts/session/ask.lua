#!lua
-- Append a question to a person, and mark the job as waiting for the answer.
-- ARGV: epoch, seq that it follows, job, question, body, schema of the answer, prompt (JSON both).
-- Returns {'ok', seq}, {'fenced'}, {'behind', top} or {'gone'}.
local epoch, after, job, question, body, schema = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local prompt = ARGV[7]
local id, refusal = append_once(epoch, after, job .. ' question.asked', body)
if refusal then return refusal end
if id and redis.call('HEXISTS', JOURNAL, 'question:' .. question) == 0 then
    job_set(job, 'status', 'waiting', 'question', question, 'schema', schema, 'prompt', prompt, 'asked_at', int(now_ms()))
end
return {'ok', int(after + 1)}
