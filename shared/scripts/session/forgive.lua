#!lua flags=allow-oom
-- Remove the strike for an attempt whose worker was found dead although it lived. ARGV: job, attempt. Returns {'ok'}.
local refusal = newer()
if refusal then return refusal end
local job = ARGV[1]
if job_get(job, 'struck')[1] == ARGV[2] then
    redis.call('HINCRBY', JOBS, job .. ':strikes', -1)
    redis.call('HDEL', JOBS, job .. ':struck')
end
return {'ok'}
