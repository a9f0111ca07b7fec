#!lua flags=no-writes
-- Read a page of a session's jobs, newest first. It has at least one job, and ends early where the records are large.
-- ARGV: job after which it begins (empty: the newest), count, bytes, field...
-- Returns {'ok', top, last job where there are more or '', {job, position or nil, value...}...} or {'unknown_session'}.
local behind_job, count, bytes = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local state, refusal = session('top')
if refusal then return refusal end
local newer = behind_job == '' and redis.call('LLEN', ORDER) or redis.call('LPOS', ORDER, behind_job, 'RANK', -1)
local answer = {'ok', newest(state[3]), ''}
if not newer then return answer end -- its record was deleted, and so were all older ones
local size = 0
for at = newer - 1, math.max(newer - count, 0), -1 do
    local record = job_record(redis.call('LINDEX', ORDER, at), 4)
    answer[#answer + 1] = record
    for i = 3, #ARGV - 1 do size = size + #(record[i] or '') end
    if size >= bytes or at == newer - count then
        if at > 0 then answer[3] = record[1] end
        break
    end
end
return answer
