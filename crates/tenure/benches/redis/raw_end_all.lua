-- Ends all locks that are still ours.
-- KEYS     their names
-- ARGV[1]  our value
-- Returns  how many were ours
local ours = {}
for index, value in ipairs(redis.call("MGET", unpack(KEYS))) do
    if value == ARGV[1] then
        ours[#ours + 1] = KEYS[index]
    end
end
if #ours == 0 then
    return 0
end
return redis.call("DEL", unpack(ours))
