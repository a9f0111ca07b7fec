#!lua
-- Append a batch under the fence, all of it or nothing. Events that are present already are skipped.
-- KEYS: log, state. ARGV: epoch, seq that it follows, retention events, then name and body of each event
-- Returns {'ok', seq, attention}, {'fenced'}, {'behind', top} or {'gone'}.
-- Without the prelude, whose closures would cost more than the rest.
local LOG, STATE, epoch, after = KEYS[1], KEYS[2], ARGV[1], tonumber(ARGV[2])
local count = (#ARGV - 3) / 2
local state = redis.call('HMGET', STATE, 'epoch', 'top', 'attention', 'job')
if not state[1] then return {'gone'} end
if state[1] ~= epoch then return {'fenced'} end
if not state[4] then return {'fenced'} end -- an attempt writes nothing after the end of its job
local last = redis.call('XREVRANGE', LOG, '+', '-', 'COUNT', 1)[1]
local top = last and last[1] or state[2] -- read from the log: an append without this script does not update the state
local last_epoch, seq = string.match(top, '^(%d+)-(%d+)$')
if tonumber(last_epoch) > tonumber(epoch) then return {'fenced'} end
seq = last_epoch == epoch and tonumber(seq) or 0
if seq < after then
    if redis.call('EXISTS', LOG) == 1 then return {'behind', top} end
    redis.call('HSET', STATE, 'top', epoch .. '-' .. after) -- where the vanished log ended
    return {'gone'}
end
for i = seq - after + 1, count do
    local at = 2 * i + 2
    local id = epoch .. '-' .. (after + i)
    local added
    if i == count then
        added = redis.call('XADD', LOG, 'NOMKSTREAM', 'MAXLEN', '~', ARGV[3], id, ARGV[at], ARGV[at + 1])
    else
        added = redis.call('XADD', LOG, 'NOMKSTREAM', id, ARGV[at], ARGV[at + 1])
    end
    if not added then return {'gone'} end
end
if after + count > seq then seq = after + count end
redis.call('HSET', STATE, 'top', epoch .. '-' .. seq)
return {'ok', tostring(seq), state[3] or ''}
