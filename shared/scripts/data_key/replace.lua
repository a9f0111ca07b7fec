#!lua
-- Replace the data keys of a tenant, unless they have changed or were forgotten. ARGV: expected, new. Returns 1 or 0.
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('SET', KEYS[1], ARGV[2])
return 1
