#!lua flags=allow-oom
-- Record the progress of the round. ARGV: cursor of the next page, 0 at the end of the round.
redis.call('HSET', RECOVERY, 'cursor', ARGV[1])
if ARGV[1] == '0' then redis.call('HINCRBY', RECOVERY, 'rounds', 1) end
return 'ok'
