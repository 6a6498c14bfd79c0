-- What is held, or waits, under some names.
--
-- KEYS[1] the meta record. ARGV: "leases" or "waiters", then names. Answers a record for each lease or waiter of each name:
-- { id, names, mode, take, of, ttl, age, left or ahead, origin, meta, epoch, ctr, how many names in all or 0 }
local base = string.sub(KEYS[1], 1, -5)
local call, sub = redis.call, string.sub
local time = call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = {}
local function claim(id)
  local record = call('GET', base .. 'c:' .. id)
  return record and sub(record, 1, 1) ~= 'E' and cmsgpack.unpack(record) or nil
end
local function show(id, c, names, number)
  found[#found + 1] = { id, names, c.mode, c.take, c.of, c.ttl, now - c.since, number, c.origin, c.meta, c.epoch or 0, c.ctr or 0, c.total or 0 }
end
for i = 2, #ARGV do
  local name = ARGV[i]
  local v = call('GET', base .. 'l:' .. name)
  if v and ARGV[1] == 'leases' then
    if sub(v, 1, 1) == 'T' then
      local left = call('PTTL', base .. 'l:' .. name)
      local ttl, since, epoch, ctr, count = struct.unpack('>I4I8I4I4I2', v, 26)
      if since == 0 then since = now - ttl + left end
      found[#found + 1] = { sub(v, 2, 17), { name }, 'x', 0, 0, ttl, now - since, left, 'l', sub(v, 48), epoch, ctr, count % 32768 }
    else
      for _, holder in ipairs(call('ZRANGEBYSCORE', base .. 'h:' .. name, '(' .. now, '+inf')) do
        local id = sub(holder, 1, 16)
        local c = claim(id)
        if c and c.exp then show(id, c, c.held or c.names, c.exp - now) end
      end
    end
  elseif v and sub(v, 1, 1) == 'F' then
    for rank, id in ipairs(call('ZRANGE', base .. 'q:' .. name, 0, -1)) do
      local c = claim(id)
      if c and c.ticket then show(id, c, c.names, rank - 1) end
    end
  end
end
return found
