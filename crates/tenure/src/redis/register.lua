-- Sees to it that the store has an epoch of its own for the present incarnation of the server.
--
-- KEYS[1] the meta record. ARGV: the greatest epoch that the caller has seen, the layout that it knows.
-- Answers { epoch, 0 } when there is one, or { 0, ms } to ask again after so many milliseconds.
--
-- An epoch is the number of the second in which it is asked for, and is used from the next second on: had the data been
-- lost twice in one second, with nobody left who knows, both incarnations would have it. Above an epoch that is known
-- it is simply greater, and a clock that was set back only costs a second.
local info = redis.call('INFO', 'replication')
local replid = string.match(info, 'master_replid:(%x+)')
if not string.find(info, 'role:master', 1, true) then
  return redis.error_reply('READONLY this server is a replica')
end
local meta = redis.call('HMGET', KEYS[1], 'epoch', 'replid', 'layout', 'ctr', 'next', 'next_replid', 'next_at')
local epoch, floor = tonumber(meta[1] or 0), tonumber(ARGV[1])
if meta[3] and meta[3] ~= ARGV[2] then
  return redis.error_reply('LAYOUT ' .. meta[3])
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function begin(number)
  redis.call('HSET', KEYS[1], 'epoch', string.format('%d', number), 'replid', replid, 'ctr', 0, 'layout', ARGV[2])
  redis.call('HDEL', KEYS[1], 'next', 'next_replid', 'next_at')
  return { number, 0 }
end
if epoch > 0 and meta[2] == replid and floor <= epoch then
  if tonumber(meta[4] or 0) <= 4293918720 then return { epoch, 0 } end
  -- The same incarnation has used up its tokens.
  return begin(epoch + 1)
end
local number = math.max(math.floor(now / 1000) - 1704067200, epoch + 1, floor + 1)
if meta[5] and meta[6] == replid and tonumber(meta[5]) > math.max(epoch, floor) then
  local left = tonumber(meta[7]) - now
  if left <= 0 then return begin(tonumber(meta[5])) end
  -- A clock that was set back leaves no longer wait than a second.
  if left <= 1000 then return { 0, left } end
end
local at = now - now % 1000 + 1000
redis.call('HSET', KEYS[1], 'next', string.format('%d', number), 'next_replid', replid, 'next_at', string.format('%d', at))
return { 0, at - now }
