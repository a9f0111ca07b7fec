#!lua flags=allow-oom
-- Take the turn to look for lost entries, unless a worker took it within a page's time.
-- ARGV: ms for a page, ms for a page of the first round. Answers {cursor, rounds}, or {} when it is not this worker's turn.
local state = redis.call('HMGET', RECOVERY, 'cursor', 'rounds')
local cursor, rounds = state[1] or '0', state[2] or '0'
if not redis.call('SET', TURN, '1', 'NX', 'PX', rounds == '0' and ARGV[2] or ARGV[1]) then return {} end
return {cursor, rounds}
