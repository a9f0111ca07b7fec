#!lua flags=allow-oom
-- Notify a worker that a session has intents. At maxmemory too: cancelling frees memory.
-- ARGV: worker, session, limit of kept messages, seconds until they expire.
local mailbox = MAILBOX .. ARGV[1]
redis.call('LPUSH', mailbox, ARGV[2])
redis.call('LTRIM', mailbox, 0, tonumber(ARGV[3]) - 1)
redis.call('EXPIRE', mailbox, ARGV[4])
return 'ok'
