#!lua
-- Append another start of the running attempt, which discards the job's events from an id on.
-- ARGV: epoch, seq that it follows, job, body, discard_from. Returns {'ok', seq}, {'fenced'}, {'behind', top} or {'gone'}.
local epoch, after, job, body, from = ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4], ARGV[5]
local id, refusal = append_once(epoch, after, job .. ' job.started', body)
if refusal then return refusal end
if id then
    discard(job, from, id)
    job_set(job, 'resume', job_get(job, 'attempt')[1] .. ' ' .. from)
end
return {'ok', int(after + 1)}
