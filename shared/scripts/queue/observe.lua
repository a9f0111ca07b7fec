#!lua flags=allow-oom
-- Register the caller's connection, which counts as a heartbeat where it is new; and take the turn to check which
-- connections are open, unless a worker did so within the interval.
-- ARGV: worker, connection (empty: none), interval ms. Returns {1 if the caller was found dead on a guess}; where it is
-- the caller's turn, also the connections and the heartbeat counters of this moment, both as {worker, value, ...}.
local worker, connection, own = ARGV[1], ARGV[2], redis.call('HGET', CONNECTIONS, ARGV[1])
if connection == '' then
    if own then redis.call('HDEL', CONNECTIONS, worker) end
elseif own ~= connection then
    redis.call('HSET', CONNECTIONS, worker, connection)
    count_heartbeat(worker)
end
local mistaken = redis.call('DEL', GUESSED .. worker)
if connection == '' or not redis.call('SET', CONNECTIONS_TURN, '1', 'NX', 'PX', ARGV[3]) then return {mistaken} end
return {mistaken, redis.call('HGETALL', CONNECTIONS), redis.call('HGETALL', WORKERS)}
