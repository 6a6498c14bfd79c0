-- A resource that refuses a token older than the greatest it has seen, as a database would in one transaction.
--
-- KEYS[1] a hash: number, fence, refused, done. KEYS[2] its journal. ARGV: the token in 20 digits; what to write, or nothing.
-- Answers the number, -1 when the token is stale, -2 when the counting is over.
local fence = redis.call('HGET', KEYS[1], 'fence')
if fence and ARGV[1] < fence then
  redis.call('HINCRBY', KEYS[1], 'refused', 1)
  return -1
end
if redis.call('HEXISTS', KEYS[1], 'done') == 1 then return -2 end
redis.call('HSET', KEYS[1], 'fence', ARGV[1])
if ARGV[2] ~= '' then
  redis.call('HSET', KEYS[1], 'number', ARGV[2])
  redis.call('RPUSH', KEYS[2], ARGV[2] .. ' ' .. ARGV[1])
end
return tonumber(redis.call('HGET', KEYS[1], 'number') or 0)
