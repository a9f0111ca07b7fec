#!lua flags=allow-oom
-- End a job in its record only, where its log cannot be read or written. Advances the epoch: the log has no entry of this
-- end, so the next entry names a predecessor that viewers do not find, and they get a gap.
-- ARGV: job, epoch of its attempt (empty: none runs), random, kind, body, retention ttl s
-- Returns {'ended', head...}, {'unknown'}, {'held'} or {'fenced'}.
local job, epoch, random, kind, body, ttl_s = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4], ARGV[5], ARGV[6]
local refusal = epoch == '' and newer()
if refusal then return refusal end
local state = redis.call('HMGET', STATE, 'epoch', 'top', 'job')
local record = job_get(job, 'status', 'end')
if not record[1] then return {'unknown'} end
if record[2] then return {'ended', unpack(head())} end
if epoch ~= '' and state[1] ~= epoch then return {'fenced'} end
if epoch == '' and state[3] then return {'held'} end
local top = state[2] or '0-0'
local id = next_epoch(state[1], top, random) .. '-1'
redis.call('HSET', STATE, 'epoch', (parts(id)), 'top', id)
redis.call('HDEL', STATE, 'token')
end_job(job, top, id, kind, body, '', ttl_s, 0, {}, 1)
return {'ended', unpack(head())}
