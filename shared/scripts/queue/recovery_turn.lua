#!lua flags=allow-oom
-- Take the next page of the search for lost entries, unless a worker took one within the page interval.
-- ARGV: page interval in ms, that of the first round in ms. Returns {cursor, rounds}, or {} where it is too early.
local state = redis.call('HMGET', RECOVERY, 'cursor', 'rounds')
local cursor, rounds = state[1] or '0', state[2] or '0'
if not redis.call('SET', TURN, '1', 'NX', 'PX', rounds == '0' and ARGV[2] or ARGV[1]) then return {} end
return {cursor, rounds}
