-- Puts drivers where they are, or takes them off; what is older than what is known of a driver changes nothing.
-- KEYS  1: geo set of the drivers online   2: hash, number of a driver -> version
-- ARGV  of each driver four: number, version, longitude, latitude; the last two empty to take them off
-- Result: how many were as new as what was known, or newer
local done = 0
for i = 1, #ARGV, 4 do
  local id, version = ARGV[i], ARGV[i + 1]
  local known = redis.call('HGET', KEYS[2], id)
  if not known or tonumber(known) <= tonumber(version) then
    redis.call('HSET', KEYS[2], id, version)
    if ARGV[i + 2] == '' then
      redis.call('ZREM', KEYS[1], id)
    else
      redis.call('GEOADD', KEYS[1], ARGV[i + 2], ARGV[i + 3], id)
    end
    done = done + 1
  end
end
-- The repair comes much sooner: only a city that nobody serves any more is forgotten.
redis.call('EXPIRE', KEYS[1], 3600)
redis.call('EXPIRE', KEYS[2], 3600)
return done
