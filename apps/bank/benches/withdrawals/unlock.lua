-- Ends a lock if it is still ours.
-- KEYS[1]  its name
-- ARGV[1]  our value
-- Returns  1 when it was ours, else 0
if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end
return 0
