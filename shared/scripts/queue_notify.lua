#!lua flags=allow-oom
-- Tell a worker to look at what is asked of a session. At maxmemory too: cancelling frees memory.
-- ARGV: worker, session, how many messages are kept, seconds for which they are kept.
local mailbox = MAILBOX .. ARGV[1]
redis.call('LPUSH', mailbox, ARGV[2])
redis.call('LTRIM', mailbox, 0, tonumber(ARGV[3]) - 1)
redis.call('EXPIRE', mailbox, ARGV[4])
return 'ok'
