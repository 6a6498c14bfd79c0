-- The steps of the store, one for each element of ARGV, each atomic and independent of the others.
-- `memory/table.rs` is their specification; docs/adr/0003-redis.md has the records.
--
-- KEYS[1]  <prefix>meta     a hash: epoch, replid, ctr (tokens given in this epoch), tickets, layout
--          <prefix>l:<name> thin: "T" id proc ttl since epoch ctr names meta, with the lease's ttl; fat: "F" and the permits in use
--          <prefix>h:<name> of a fat name: its holders, by the instant at which they expire
--          <prefix>q:<name> of a fat name: its waiters, by ticket
--          <prefix>c:<id>   a claim that is fat somewhere or waits; or "E", why it ended or the answer to who ended it, and
--                           the mark of that step
-- A name is thin while one exclusive lease holds it and nobody waits: then that key is all there is.
local base = string.sub(KEYS[1], 1, -5)
local call, sub, pack, unpack_bytes = redis.call, string.sub, struct.pack, struct.unpack
-- limits.rs
local OFFER, DEAD_WAITER, OVERTAKE_FOR, MAX_OVERTAKES = 3000, 3000, 100, 16
local MAX_GRANTS, MAX_WAITERS, LOOKED_AT = 64, 10000, 128
-- For how long it is remembered that an id has ended, and what it had; and a queue that nobody touches.
local REMEMBER, DAY = 60000, 86400000
-- Beside the number of names of a thin record: that its holder wants to know whom it is in the way of.
local REVOCABLE = 32768

-- The server's time in milliseconds.
local function clock()
  local time = call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Whether a record is that of a lease which has its name thinly.
local function is_thin_of(v, id) return v and sub(v, 1, 17) == 'T' .. id end

-- The keys of thin names, and whether the lease holds all of them so.
local function thin(id, names)
  local keys, own = {}, #names > 0
  for i, name in ipairs(names) do keys[i] = base .. 'l:' .. name end
  if not own then return keys, false end
  local held = call('MGET', unpack(keys))
  local first = held[1]
  if not is_thin_of(first, id) then return keys, false end
  -- Most are the very same: to see that costs less than to take them apart.
  for i = 2, #keys do
    if held[i] ~= first and not is_thin_of(held[i], id) then return keys, false end
  end
  return keys, true
end

-- The store's epoch. Called before anything is granted or told: a store that is another one than before grants nothing.
local epoch
local function incarnation()
  if epoch then return epoch end
  local known = call('HMGET', KEYS[1], 'epoch', 'replid', 'ctr')
  if not known[1] or #(known[2] or '') < 40
      or not string.find(call('INFO', 'replication'), 'master_replid:' .. known[2], 1, true)
      or tonumber(known[3]) > 4293918720 then
    error({ err = 'NEWEPOCH the store is another one than before, or has used up its tokens' })
  end
  epoch = tonumber(known[1])
  return epoch
end

local function machine()
  incarnation()
  local now = clock()
  local claims, alive = {}, {}
  local m = {}

  local function load(id)
    local c = claims[id]
    if c == nil then
      local record = call('GET', base .. 'c:' .. id)
      c = record and (sub(record, 1, 1) == 'E' and { ended = sub(record, 2, 2), mark = sub(record, 3) } or cmsgpack.unpack(record)) or false
      claims[id] = c
    end
    return c
  end

  -- A waiting claim lives until it is not touched for a while; a held one is remembered beyond its end.
  local function save(id, c, keep)
    claims[id] = c
    if keep then
      call('SET', base .. 'c:' .. id, cmsgpack.pack(c), 'KEEPTTL')
    else
      local ms = c.exp and math.max(c.exp - now, 0) + REMEMBER or DEAD_WAITER
      call('SET', base .. 'c:' .. id, cmsgpack.pack(c), 'PX', ms)
    end
  end

  local function remember(id, why, mark)
    claims[id] = { ended = why, mark = mark or '' }
    call('SET', base .. 'c:' .. id, 'E' .. why .. (mark or ''), 'PX', REMEMBER)
  end

  local function tell(proc, event)
    call('PUBLISH', base .. 'p:' .. proc, event)
  end

  -- Whether a waiter can be told of its grant, and still touches its claim.
  local function lives(c)
    if not c or c.ended or c.exp then return false end
    if alive[c.proc] == nil then
      alive[c.proc] = call('PUBSUB', 'NUMSUB', base .. 'p:' .. c.proc)[2] > 0
    end
    return alive[c.proc]
  end

  -- Keeps the records of a fat name for so long, and never for less than before. Each by itself: the holders' goes with the
  -- last of them, and the next one's is new.
  local function extend(name, ms)
    for _, key in ipairs({ base .. 'l:' .. name, base .. 'h:' .. name }) do
      if call('PTTL', key) < ms + REMEMBER then call('PEXPIRE', key, ms + REMEMBER) end
    end
  end

  local function member(id, c) return id .. c.mode .. pack('>I4', c.take) end
  local function holders(name) return call('ZRANGE', base .. 'h:' .. name, 0, -1) end
  local function waits(name) return call('ZCARD', base .. 'q:' .. name) end
  local function queue(name) return call('ZRANGE', base .. 'q:' .. name, 0, LOOKED_AT - 1, 'WITHSCORES') end

  -- Who holds a name thinly: its id, or nothing; then whether the name is known at all.
  local function record(name)
    local v = call('GET', base .. 'l:' .. name)
    if not v then return nil, nil end
    if sub(v, 1, 1) == 'T' then return v, v end
    return nil, v
  end

  local function fatten(name, v)
    local id = sub(v, 2, 17)
    local left = call('PTTL', base .. 'l:' .. name)
    local ttl, since, e, ctr, count = unpack_bytes('>I4I8I4I4I2', v, 26)
    local c = load(id)
    if not c or c.ended then
      c = { names = {}, mode = 'x', take = 0, of = 0, pick = 0, ttl = ttl, linger = 0, origin = 'l', want = 1,
        proc = sub(v, 18, 25), meta = sub(v, 48), total = count % REVOCABLE, since = since > 0 and since or now - ttl + left, exp = 0 }
      if ctr > 0 then c.epoch, c.ctr, c.count = e, ctr, 1 end
    end
    c.names[#c.names + 1] = name
    table.sort(c.names)
    c.exp = math.max(c.exp, now + left)
    save(id, c)
    call('SET', base .. 'l:' .. name, 'F0')
    call('ZADD', base .. 'h:' .. name, c.exp, member(id, c))
    extend(name, left)
  end

  -- Lets a lease last for so long from now on.
  local function prolong(id, c, exp)
    c.exp = exp
    for _, name in ipairs(c.held or c.names) do
      call('ZADD', base .. 'h:' .. name, exp, member(id, c))
      extend(name, exp - now)
    end
  end

  local function admits(name, mode, take, of)
    local thin, v = record(name)
    if thin then return false end
    if not v then return true end
    if mode == 'x' then return call('ZCARD', base .. 'h:' .. name) == 0 end
    local first = call('ZRANGE', base .. 'h:' .. name, 0, 0)[1]
    if not first then return true end
    if mode == 's' then return sub(first, 17, 17) == 's' end
    return sub(first, 17, 17) == 'p' and tonumber(sub(v, 2)) + take <= of
  end

  local function conflicts(earlier, later) return not (earlier == 's' and later == 's') end

  local function may_be_overtaken(name, w)
    local others = 0
    for _, other in ipairs(w.names) do
      if other ~= name and admits(other, w.mode, w.take, w.of) then others = others + 1 end
    end
    local needed = w.pick > 0 and w.pick - 1 or #w.names - 1
    local patient = not w.passed_since or now < w.passed_since + OVERTAKE_FOR
    return others < needed and (w.passed or 0) < MAX_OVERTAKES and patient
  end

  -- Whether a claim with this ticket may have the name now.
  local function open(name, mode, take, of, ticket)
    if not admits(name, mode, take, of) then return false end
    local ids = queue(name)
    for i = 1, #ids, 2 do
      if tonumber(ids[i + 1]) >= ticket then return true end
      local w = load(ids[i])
      if lives(w) and conflicts(w.mode, mode) and not may_be_overtaken(name, w) then return false end
    end
    return #ids < 2 * LOOKED_AT
  end

  -- The names that a claim would take now, or nothing when it has to wait.
  local function runnable(c, ticket)
    local picked = {}
    for _, name in ipairs(c.names) do
      if open(name, c.mode, c.take, c.of, ticket) then
        picked[#picked + 1] = name
        if #picked == c.pick then return picked end
      elseif c.pick == 0 then
        return nil
      end
    end
    return c.pick == 0 and picked or nil
  end

  local function overtake(c, names, ticket)
    for _, name in ipairs(names) do
      local ids = queue(name)
      for i = 1, #ids, 2 do
        if tonumber(ids[i + 1]) >= ticket then break end
        local w = load(ids[i])
        if w and w.ticket and conflicts(w.mode, c.mode) then
          w.passed, w.passed_since = (w.passed or 0) + 1, w.passed_since or now
          save(ids[i], w, true)
        end
      end
    end
  end

  local function use(name, permits)
    if permits ~= 0 then
      local v = call('GET', base .. 'l:' .. name)
      call('SET', base .. 'l:' .. name, 'F' .. string.format('%d', (tonumber(sub(v or 'F0', 2)) or 0) + permits), 'KEEPTTL')
    end
  end

  -- Gives a lease the next tokens.
  local function draw(c, count)
    c.ctr = call('HINCRBY', KEYS[1], 'ctr', count) - count + 1
    c.count, c.epoch = count, epoch
  end

  -- Makes a claim the holder of names, out of the next tokens.
  local function hold(id, c, names, ttl)
    draw(c, c.mode == 'x' and c.want or 1)
    c.since, c.exp, c.held = now, now + ttl, names
    c.ticket, c.passed, c.passed_since = nil, nil, nil
    for _, name in ipairs(names) do
      call('SET', base .. 'l:' .. name, 'F0', 'NX')
      use(name, c.take)
      call('ZADD', base .. 'h:' .. name, c.exp, member(id, c))
      extend(name, ttl)
    end
    save(id, c)
  end

  local function contended(c)
    for _, name in ipairs(c.held or c.names) do
      if waits(name) > 0 then return 1 end
    end
    return 0
  end

  -- What a lease has; its names where they are not those that were asked for, or the asker does not know them.
  local function grant(c, repeated, all)
    return { 'G', (all or c.pick > 0) and (c.held or c.names) or {}, c.epoch or 0, c.ctr or 0, c.count or 0, math.max(c.exp - now, 0),
      contended(c), c.revoked and 1 or 0, repeated }
  end

  local function note_idle(names)
    for _, name in ipairs(names) do
      if call('ZCARD', base .. 'h:' .. name) == 0 and waits(name) == 0 then
        local thin = record(name)
        if not thin then call('DEL', base .. 'l:' .. name, base .. 'h:' .. name, base .. 'q:' .. name) end
      end
    end
  end

  local function unqueue(id, names)
    for _, name in ipairs(names) do call('ZREM', base .. 'q:' .. name, id) end
  end

  -- Grants a waiting claim the names that it may have, as an offer.
  local function serve(id, c, names)
    overtake(c, names, c.ticket)
    unqueue(id, c.names)
    local offer = math.min(c.ttl, OFFER)
    hold(id, c, names, offer)
    local list = {}
    for i, name in ipairs(names) do list[i] = pack('>I1', #name) .. name end
    tell(c.proc, 'G' .. id .. pack('>I4I4I4I4I1', c.epoch, c.ctr, c.count, offer, contended(c)) .. table.concat(list))
    note_idle(c.names)
  end

  local function next_runnable(freed)
    local id, names, least
    for _, name in ipairs(freed) do
      local thin, v = record(name)
      local first = v and not thin and call('ZRANGE', base .. 'h:' .. name, 0, 0)[1]
      if v and not thin and not (first and sub(first, 17, 17) == 'x') then
        local ids = queue(name)
        for i = 1, #ids, 2 do
          local ticket = tonumber(ids[i + 1])
          if least and ticket >= least then break end
          local w = load(ids[i])
          local picked = lives(w) and runnable(w, ticket)
          if picked then
            id, names, least = ids[i], picked, ticket
            break
          end
        end
      end
    end
    return id, names
  end

  -- Grants the claims that became runnable because names were freed, in the order of their tickets.
  local function grant_next(names)
    local freed, seen = {}, {}
    local function free(more)
      for _, name in ipairs(more) do
        if not seen[name] then
          seen[name] = true
          freed[#freed + 1] = name
        end
      end
    end
    free(names)
    for _ = 1, MAX_GRANTS do
      local id, picked = next_runnable(freed)
      if not id then return end
      local c = load(id)
      serve(id, c, picked)
      free(c.names)
    end
  end

  -- Takes a claim out of the store and lets the next ones in. `why` is for a holder who did not end it.
  -- What was answered to the step that ended it is remembered, for one whose answer is lost.
  local function drop(id, c, why, answer, mark)
    if why and not c.given_up then tell(c.proc, 'L' .. id .. why) end
    remember(id, answer or why, mark)
    local names = c.held or c.names
    if c.exp then
      for _, name in ipairs(names) do
        if call('ZREM', base .. 'h:' .. name, member(id, c)) == 1 then use(name, -c.take) end
      end
    else
      unqueue(id, names)
    end
    grant_next(names)
    note_idle(names)
  end

  -- Drops what is over: leases that expired, waiters at the head that nobody touched.
  local function refresh(names)
    for _, name in ipairs(names) do
      for _, holder in ipairs(call('ZRANGEBYSCORE', base .. 'h:' .. name, '-inf', now)) do
        local id = sub(holder, 1, 16)
        local c = load(id)
        if c and c.exp then
          drop(id, c, 'e')
        elseif call('ZREM', base .. 'h:' .. name, holder) == 1 then
          use(name, -unpack_bytes('>I4', holder, 18))
        end
      end
      local dropped = false
      while true do
        local head = call('ZRANGE', base .. 'q:' .. name, 0, 0)[1]
        local c = head and load(head)
        if not head or (c and c.ticket) then break end
        call('ZREM', base .. 'q:' .. name, head)
        dropped = true
      end
      if dropped then
        grant_next({ name })
        note_idle({ name })
      end
    end
  end

  local function promote(id, c)
    if not c.ticket then return end
    local names = runnable(c, c.ticket)
    if names then
      serve(id, c, names)
      grant_next(c.names)
    end
  end

  local function place(id, c)
    local ahead, expires = 0, -1
    for _, name in ipairs(c.names) do
      ahead = math.max(ahead, call('ZRANK', base .. 'q:' .. name, id) or 0)
      local first = call('ZRANGE', base .. 'h:' .. name, 0, 0, 'WITHSCORES')[2]
      local left = first and math.max(tonumber(first) - now, 0)
      if left and (expires < 0 or left < expires) then expires = left end
    end
    return { 'Q', ahead, expires }
  end

  -- What is in the way of a claim.
  local function busy(names)
    for _, name in ipairs(names) do
      local thin, v = record(name)
      if thin then
        if unpack_bytes('>I2', thin, 46) >= REVOCABLE then tell(sub(thin, 18, 25), 'C' .. sub(thin, 2, 17)) end
        return { 'B', name, sub(thin, 2, 17), call('PTTL', base .. 'l:' .. name), sub(thin, 48), 0 }
      elseif v then
        local first = call('ZRANGE', base .. 'h:' .. name, 0, 0, 'WITHSCORES')
        local c = first[1] and load(sub(first[1], 1, 16))
        return { 'B', name, first[1] and sub(first[1], 1, 16) or '', first[2] and math.max(tonumber(first[2]) - now, 0) or -1,
          c and c.meta or '', waits(name) }
      end
    end
    return { 'B', '', '', -1, '', 0 }
  end

  -- Kinds of use do not mix on a name.
  local function mixed(c)
    local function limit(w) return w.mode == 'p' and w.of or 0 end
    for _, name in ipairs(c.names) do
      local thin, v = record(name)
      if thin and limit(c) ~= 0 then return name end
      if v and not thin then
        local first = call('ZRANGE', base .. 'h:' .. name, 0, 0)[1]
        for _, id in ipairs({ first and sub(first, 1, 16) or '', call('ZRANGE', base .. 'q:' .. name, 0, 0)[1] }) do
          local other = id ~= '' and load(id)
          if other and not other.ended and limit(other) ~= limit(c) then return name end
        end
      end
    end
  end

  local function enqueue(id, c)
    for _, name in ipairs(c.names) do
      if waits(name) >= MAX_WAITERS then return { 'X', 'waiters', name } end
    end
    c.ticket = call('HINCRBY', KEYS[1], 'tickets', 1)
    for _, name in ipairs(c.names) do
      local thin, v = record(name)
      if thin then fatten(name, thin) elseif not v then call('SET', base .. 'l:' .. name, 'F0') end
      if waits(name) == 0 then
        for _, holder in ipairs(holders(name)) do
          local h = load(sub(holder, 1, 16))
          if h and h.proc then tell(h.proc, 'C' .. sub(holder, 1, 16)) end
        end
      end
      call('ZADD', base .. 'q:' .. name, c.ticket, id)
      call('PEXPIRE', base .. 'q:' .. name, DAY)
      extend(name, DAY)
    end
    c.since = now
    save(id, c)
    return place(id, c)
  end

  local function ask_again(id, c)
    if c.ticket then call('PEXPIRE', base .. 'c:' .. id, DEAD_WAITER) end
    refresh(c.names)
    c = load(id)
    if c and c.ticket then promote(id, c) end
    c = load(id)
    if c and c.exp and not c.given_up then return grant(c, 1) end
    if c and c.ticket then return place(id, c) end
    return nil
  end

  function m.fatten(name)
    fatten(name, call('GET', base .. 'l:' .. name))
  end

  -- The tokens that an asker knows of a lease which does not know them itself.
  local function learn(id, c, seen)
    if c and c.exp and not c.ctr and seen.ctr > 0 then
      c.epoch, c.ctr, c.count = seen.epoch, seen.ctr, seen.count
      save(id, c)
    end
  end

  function m.claim(id, asked, wait, replaces, seen)
    local c = load(id)
    if not c and asked.pick == 0 and select(2, thin(id, asked.names)) then
      for _, name in ipairs(asked.names) do m.fatten(name) end
      c = load(id)
    end
    learn(id, c, seen)
    if c and c.exp and not c.ctr then
      -- Granted by a step whose answer was lost: nobody has its tokens, so it gets others now.
      draw(c, asked.want)
      save(id, c)
    end
    if c then
      return not c.ended and ask_again(id, c) or busy(c.ended and {} or asked.names)
    end
    refresh(asked.names)
    local name = mixed(asked)
    if name then return { 'X', 'mode', name } end
    for _, other in ipairs(replaces) do m.finish(other.id, other.names) end
    local names = runnable(asked, math.huge)
    if names then
      overtake(asked, names, math.huge)
      hold(id, asked, names, asked.ttl)
      return grant(asked, 0)
    end
    if not wait then return busy(asked.names) end
    return enqueue(id, asked)
  end

  function m.keep(id, ttl, tokens, seen, all)
    local c = load(id)
    if not c or c.ended then return { 'N', c and c.ended or 'u' } end
    if ttl > 0 then
      if c.ticket then call('PEXPIRE', base .. 'c:' .. id, DEAD_WAITER) end
      refresh(c.names)
      c = load(id)
      -- Nobody looks as deep into a queue as to grant what stands beyond.
      local answer = c and c.ticket and place(id, c)
      if answer and answer[2] >= LOOKED_AT then return answer end
      if answer then promote(id, c) end
      c = load(id)
    end
    if not c or c.ended or c.given_up then return { 'N', c and c.ended or 'u' } end
    if c.ticket then return place(id, c) end
    learn(id, c, seen)
    if ttl > 0 then
      if not c.revoked and c.exp < now + ttl then prolong(id, c, now + ttl) end
      c.ttl = ttl
    end
    if tokens > 0 and c.mode == 'x' then draw(c, tokens) end
    if ttl > 0 or tokens > 0 then save(id, c) end
    return grant(c, 0, all)
  end

  -- Answers: 0 not held, 1 released, 2 lingering, 3 withdrawn.
  function m.finish(id, names, mark)
    local given = 0
    for _, name in ipairs(names) do
      local v = call('GET', base .. 'l:' .. name)
      if is_thin_of(v, id) then given = given + call('DEL', base .. 'l:' .. name) end
    end
    local c = load(id)
    if not c or c.ended then
      if not c and given == 0 then remember(id, 'u') end
      return given > 0 and 1 or c and c.mark == mark and tonumber(c.ended) or 0
    end
    if not c.exp then
      drop(id, c, nil, 3, mark)
      return 3
    end
    if c.exp <= now then
      drop(id, c, 'e')
      return 0
    end
    if c.linger > 0 and c.since + c.linger > now then
      c.exp, c.given_up = c.since + c.linger, true
      for _, name in ipairs(c.held or c.names) do
        call('ZADD', base .. 'h:' .. name, c.exp, member(id, c))
        extend(name, c.linger)
      end
      save(id, c)
      return 2
    end
    drop(id, c, nil, 1, mark)
    return 1
  end

  -- Answers: 0 not found, 1 ended, 2 asked for.
  function m.force(id, how, names, mark)
    for _, name in ipairs(names) do
      local v = call('GET', base .. 'l:' .. name)
      if is_thin_of(v, id) then fatten(name, v) end
    end
    local c = load(id)
    if not c or c.ended then return c and c.mark == mark and 1 or 0 end
    if how == 'revoke' and c.exp and not c.given_up then
      c.revoked = true
      save(id, c)
      tell(c.proc, 'R' .. id)
      return 2
    end
    drop(id, c, 'f', nil, mark)
    return 1
  end
  return m
end

