-- Takes money out of a wallet on conditions, and writes it into the history: all of it or nothing.
--
-- KEYS[1] the balance, [2] the history of withdrawals, [3] a hash of the wallet's `version` and `fence`, [4] what is known of the
-- idempotency key, if there is one. ARGV[1] the amount, above zero; [2] the moment, in milliseconds since 1970; [3] the version
-- that is expected, or nothing; [4] the token of a lock, or nothing; [5] what is asked, for the idempotency key.
-- Answers a word and a number: `done` and the balance before; `missing`; `stale` and the fence; `conflict` and the version;
-- `insufficient` and the balance; `reused`. Of a repetition, `done` and the balance before the first.
--
-- Balances and tokens have up to 63 bits and Lua's numbers 53, so they stay texts: of two without sign and leading zeros the
-- longer is the greater, and of two that are as long the one that is greater byte for byte.
local function smaller(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end

local amount, at, expected, token = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local known = repeated(KEYS[4], ARGV[5])
if known then return known end

local before = redis.call('GET', KEYS[1])
if not before then return { 'missing', '0' } end
if expected ~= '' then
  local wallet = redis.call('HMGET', KEYS[3], 'version', 'fence')
  local version, fence = wallet[1] or '0', wallet[2] or '0'
  if token ~= '' and smaller(token, fence) then return { 'stale', fence } end
  if version ~= expected then return { 'conflict', version } end
end
if string.byte(before) == 45 or smaller(before, amount) then return { 'insufficient', before } end

-- Whatever can fail comes before the balance, which fails when somebody has put something else than a number there.
if token ~= '' then redis.call('HSET', KEYS[3], 'fence', token) end
local version = string.format('%.0f', redis.call('HINCRBY', KEYS[3], 'version', 1))
tell(KEYS[2], '{"kind":"withdrawn","version":' .. version .. ',"before":' .. before .. ',"amount":' .. amount .. ',"at":' .. at .. '}')
local taken = redis.pcall('DECRBY', KEYS[1], amount)
if type(taken) == 'table' then
  redis.call('LPOP', KEYS[2])
  return taken
end
if KEYS[4] then redis.call('SET', KEYS[4], before .. ' ' .. ARGV[5], 'PX', KEPT_MS) end
return { 'done', before }
