#!lua flags=allow-oom
-- Drop a token that nobody took yet: the job that it was reserved for was refused. ARGV: token, agent
if redis.call('ZREM', DEFERRED, ARGV[1]) + redis.call('ZREM', READY .. ARGV[2], ARGV[1]) > 0 then
    redis.call('HDEL', ENTRIES, ARGV[1])
end
return 'ok'
