#!lua flags=allow-oom
-- Remove vanished sessions from the session list. ARGV: session, the activity that was read with it, ...
for i = 1, #ARGV, 2 do
    local active = redis.call('ZSCORE', SESSIONS, ARGV[i])
    if active and int(tonumber(active)) == ARGV[i + 1] then redis.call('ZREM', SESSIONS, ARGV[i]) end
end
return 'ok'
