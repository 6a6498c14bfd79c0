-- Takes all names or none.
-- KEYS     the names
-- ARGV[1]  our value
-- ARGV[2]  ttl in milliseconds
-- Returns  1 when all are ours, else 0
for _, value in ipairs(redis.call("MGET", unpack(KEYS))) do
    if value then
        return 0
    end
end
for _, name in ipairs(KEYS) do
    redis.call("SET", name, ARGV[1], "PX", ARGV[2])
end
return 1
