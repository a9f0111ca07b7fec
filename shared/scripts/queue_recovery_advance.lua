#!lua flags=allow-oom
-- Note how far the round is. ARGV: cursor of the next page, 0 at the round's end.
redis.call('HSET', RECOVERY, 'cursor', ARGV[1])
if ARGV[1] == '0' then redis.call('HINCRBY', RECOVERY, 'rounds', 1) end
return 'ok'
