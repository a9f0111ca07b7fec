#!lua
-- Answer the open question of a job.
-- ARGV: job, question (empty: there was none), value. Returns {'ok', lease owner, agent}, {'answered'}, {'unasked'},
-- {'unknown_session'} or {'unknown_job'}.
local job, question, value = ARGV[1], ARGV[2], ARGV[3]
local state, refusal = session('worker')
if refusal then return refusal end
local record = job_get(job, 'status', 'question', 'answered', 'agent')
if not record[1] then return {'unknown_job'} end
local waiting, answered = record[2], record[3] or ''
if question == '' then return {answered ~= '' and 'answered' or 'unasked'} end
if string.find(answered, ' ' .. question .. ' ', 1, true) then return {'answered'} end
if question ~= waiting then return {'unasked'} end
redis.call('HSET', JOURNAL, 'question:' .. question, value)
forget_question(job)
job_set(job, 'status', state[3] and 'running' or 'queued', 'answered', answered .. ' ' .. question .. ' ')
redis.call('HSET', STATE, 'attention', '1')
return {'ok', state[3] or '', record[4]}
