-- What a step does: thin names at once, all else by the machine of table.lua, which is put before this.
local built
local function slow()
  built = built or machine()
  return built
end

local at, answers = 1, {}
-- The next argument, as it is or as a number; and the next names, behind their number.
local function text() at = at + 1; return ARGV[at - 1] end
local function number() at = at + 1; return tonumber(ARGV[at - 1]) end
local function list()
  local names = {}
  for i = 1, number() do names[i] = ARGV[at + i - 1] end
  at = at + #names
  return names
end
-- A server whose memory is full refuses what needs memory as the first write of a script, and nothing after it: renewals and
-- ends begin with a write that needs none.
local function insist() call('PERSIST', KEYS[1]) end

-- First the ends of leases on one name, each an argument of id, mark and name: most are thin, and go in one sweep.
local ends = number()
if ends > 0 then
  local keys, free = {}, {}
  for i = 1, ends do keys[i] = base .. 'l:' .. sub(ARGV[at + i - 1], 33) end
  local held = call('MGET', unpack(keys))
  for i = 1, ends do
    local own = held[i] and sub(held[i], 2, 17) == sub(ARGV[at + i - 1], 1, 16) and sub(held[i], 1, 1) == 'T'
    if own then free[#free + 1] = keys[i] end
    answers[i] = own and 1 or 0
  end
  if #free > 0 then call('DEL', unpack(free)) end
  for i = 1, ends do
    local of = ARGV[at + i - 1]
    if answers[i] == 0 then
      insist()
      local id = sub(of, 1, 16)
      if (not held[i] or sub(held[i], 1, 1) == 'T') and call('EXISTS', base .. 'c:' .. id) == 0 then
        -- Over before: the next claim of its process has replaced it, or its ttl has ended it.
        call('SET', base .. 'c:' .. id, 'Eu', 'PX', REMEMBER)
      else
        answers[i] = slow().finish(id, { sub(of, 33) }, sub(of, 17, 32))
      end
    end
  end
  at = at + ends
end

while at <= #ARGV do
  local kind, answer = text(), nil
  local id = text()
  if kind == 'end' then
    local mark, names = text(), list()
    local keys, own = thin(id, names)
    if own then
      call('DEL', unpack(keys))
      answer = 1
    else
      insist()
      answer = slow().finish(id, names, mark)
    end
  elseif kind == 'keep' then
    local ttl, tokens = number(), number()
    local seen = { epoch = number(), ctr = number(), count = number() }
    local names = list()
    local keys, own = thin(id, names)
    if own and tokens == 0 and seen.ctr > 0 then
      local left = ttl
      for _, key in ipairs(keys) do
        local told, since, _, ctr = unpack_bytes('>I4I8I4I4', call('GETRANGE', key, 25, 44))
        if ctr == 0 or since == 0 or (ttl > 0 and told ~= ttl) then
          insist()
          if since == 0 then since = clock() - told + call('PTTL', key) end
          call('SETRANGE', key, 25, pack('>I4I8I4I4', ttl > 0 and ttl or told, since, seen.epoch, seen.ctr))
        end
        if ttl > 0 and call('PEXPIRE', key, ttl, 'GT') == 0 then left = math.max(left, call('PTTL', key)) end
      end
      answer = left
    else
      insist()
      if own then
        for _, name in ipairs(names) do slow().fatten(name) end
      end
      answer = slow().keep(id, ttl, tokens, seen, #names == 0)
    end
  elseif kind == 'claim' then
    local proc = text()
    local c = { proc = proc, mode = text(), take = number(), of = number(), pick = number() }
    local ttl = text()
    c.ttl, c.linger = tonumber(ttl), number()
    c.want, c.origin, c.meta = number(), text(), text()
    local wait = text() == 'w'
    local revocable = number()
    local seen = { epoch = number(), ctr = number(), count = number() }
    local replaces = {}
    for i = 1, number() do replaces[i] = { id = text(), names = list() } end
    c.names = list()
    local plain = c.mode == 'x' and c.pick == 0 and c.linger == 0 and c.origin == 'l'
    local keys = {}
    if plain then
      for i, name in ipairs(c.names) do keys[i] = base .. 'l:' .. name end
      if #replaces == 0 then
        plain = call('EXISTS', base .. 'c:' .. id, unpack(keys)) == 0
      else
        -- The one that this process gave back a moment ago.
        local own = #replaces == 1 and #keys == 1 and call('GET', keys[1])
        plain = is_thin_of(own, replaces[1].id) and call('EXISTS', base .. 'c:' .. id) == 0
      end
    end
    if plain then
      local own = incarnation()
      local ctr = call('HINCRBY', KEYS[1], 'ctr', c.want) - c.want + 1
      local v = 'T' .. id .. proc .. pack('>I4I8I4I4I2', c.ttl, clock(), own, ctr, #c.names + revocable) .. c.meta
      for _, key in ipairs(keys) do call('SET', key, v, 'PX', ttl) end
      answer = { 'G', {}, own, ctr, c.want, c.ttl, 0, 0, 0 }
    else
      answer = slow().claim(id, c, wait, replaces, seen)
    end
  elseif kind == 'force' then
    local mark, how = text(), text()
    insist()
    answer = slow().force(id, how, list(), mark)
  end
  answers[#answers + 1] = answer
end
return answers
