#!lua flags=no-writes
-- Read the newest messages of the jobs that have ended, and what tells which of them come before a job.
-- ARGV: job, how many messages at most, bytes that suffice. Returns {{message...} newest first, {job id...}: this job and those
-- behind it, input of the job or nil}.
local job, count, bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local PIECE = 16
local messages, read = {}, 0
while read < count and bytes > 0 do
    local piece = redis.call('LRANGE', MESSAGES, -read - PIECE, -read - 1)
    for i = #piece, 1, -1 do
        if bytes > 0 and #messages < count then
            messages[#messages + 1] = piece[i]
            bytes = bytes - size_of(piece[i])
        end
    end
    if #piece < PIECE then break end
    read = read + PIECE
end
local place = redis.call('LPOS', ORDER, job, 'RANK', -1)
return {messages, place and redis.call('LRANGE', ORDER, place, -1) or {job}, job_get(job, 'input')[1]}
