#!lua flags=allow-oom
-- Drop an entry that no worker has taken: the job for which it was reserved was refused. ARGV: entry, agent
if redis.call('ZREM', DEFERRED, ARGV[1]) + redis.call('ZREM', READY .. ARGV[2], ARGV[1]) > 0 then
    redis.call('HDEL', ENTRIES, ARGV[1])
end
return 'ok'
