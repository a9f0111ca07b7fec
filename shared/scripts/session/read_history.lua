#!lua flags=no-writes
-- Read the newest messages of the jobs that have ended, and which of them are on the path to a job.
-- ARGV: job, how many messages at most, bytes that suffice. Returns {{message...} newest first, 1 where there are older ones,
-- {job id...} of the path (empty: all), {job id...}: this job and those accepted after it, input of the job or nil}.
local job, count, bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local PIECE = 16
local messages, read, length = {}, 0, redis.call('LLEN', MESSAGES)
while read < math.min(count, length) and bytes > 0 do
    local piece = redis.call('LRANGE', MESSAGES, -read - PIECE, -read - 1)
    for i = #piece, 1, -1 do
        if bytes > 0 and #messages < count then
            messages[#messages + 1] = piece[i]
            bytes = bytes - size_of(piece[i])
        end
    end
    read = read + PIECE
end
local place = redis.call('LPOS', ORDER, job, 'RANK', -1)
local later = place and redis.call('LRANGE', ORDER, place, -1) or {job}
return {messages, #messages < length and 1 or 0, path(job) or {}, later, job_get(job, 'input')[1]}
