#!lua flags=allow-oom
-- Remove sessions from the session lists. ARGV: session, the activity that was read with it or '' for any, ...
for i = 1, #ARGV, 2 do
    local active = redis.call('ZSCORE', SESSIONS, ARGV[i])
    if ARGV[i + 1] == '' or (active and int(tonumber(active)) == ARGV[i + 1]) then unlist(ARGV[i]) end
end
return 'ok'
