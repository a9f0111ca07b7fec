#!lua flags=allow-oom
-- Drop an entry that no worker has taken: the job for which it was reserved was refused. ARGV: entry, agent
if redis.call('ZREM', DEFERRED, ARGV[1]) == 1 or unready(ARGV[1], ARGV[2]) then remove(ARGV[1]) end
return 'ok'
