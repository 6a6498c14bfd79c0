-- Withdraws as a demo does: compares numbers, and gives no thought to versions, tokens and repetitions.
-- KEYS[1]  the balance
-- KEYS[2]  the history
-- ARGV[1]  the amount
-- Returns  what is left, or -1
local balance = redis.call('GET', KEYS[1])
if not balance or tonumber(balance) < tonumber(ARGV[1]) then return -1 end
local left = redis.call('DECRBY', KEYS[1], ARGV[1])
redis.call('LPUSH', KEYS[2], ARGV[1])
redis.call('LTRIM', KEYS[2], 0, 999)
return left
