#!lua
-- Take one request from each bucket, or none at all if one of them has none left: the generic cell rate algorithm
-- (ITU-T I.371). A key holds the time in µs at which its bucket is full again, and vanishes then.
-- KEYS: buckets. ARGV: for each, the µs in which one request becomes available, and those in which it fills up.
-- Returns the µs until the emptiest bucket has a request again, 0 if all had, and its place in KEYS.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local full, wait, place = {}, 0, 1
for i, key in ipairs(KEYS) do
    local each, size = tonumber(ARGV[2 * i - 1]), tonumber(ARGV[2 * i])
    local stored = tonumber(redis.call('GET', key) or 0)
    -- After the server's clock was set back, a bucket is empty, and no emptier.
    full[i] = math.max(math.min(stored, now + size), now) + each
    if full[i] - size - now > wait then wait, place = full[i] - size - now, i end
end
if wait == 0 then
    for i, key in ipairs(KEYS) do
        redis.call('SET', key, string.format('%.0f', full[i]), 'PX', math.ceil((full[i] - now) / 1000))
    end
end
return {wait, place}
