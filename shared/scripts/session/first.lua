#!lua flags=no-writes
-- Find the job of an idempotency key.
-- ARGV: idempotency key, digest, key lifetime ms. Returns what submit.lua does, or {'none'}.
local refusal = newer()
if refusal then return refusal end
local known = redis.call('HGET', IDEMPOTENCY, ARGV[1])
local state = redis.call('HMGET', STATE, 'top', 'deleted')
if not known or state[2] then return {'none'} end
local job, digest, at = string.match(known, '^(%S+) (%S+) (%d+)$')
local status = job_get(job, 'status')[1]
if not status or now_ms() - tonumber(at) >= tonumber(ARGV[3]) then return {'none'} end
if digest ~= ARGV[2] then return {'mismatch'} end
return {'replayed', job, status, redis.call('LPOS', BACKLOG, job) or 0, newest(state[1]), ''}
