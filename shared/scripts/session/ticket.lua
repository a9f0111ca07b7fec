#!lua
-- Return the series of the session's tickets: {'ok', series} or {'unknown_session'}.
-- ARGV: the series that begins where there is none
local state, refusal = session('tickets')
if refusal then return refusal end
if state[3] then return {'ok', state[3]} end
redis.call('HSET', STATE, 'tickets', ARGV[1])
return {'ok', ARGV[1]}
