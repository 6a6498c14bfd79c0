-- Sets a balance, whatever it was, and writes it into the history: all of it or nothing.
--
-- KEYS[1] the balance, [2] the history of adjustments, [3] a hash of the wallet's `version` and `fence`, [4] what is known of the
-- idempotency key, if there is one. ARGV[1] the balance; [2] the moment, in milliseconds since 1970; [3] what is asked, for the
-- idempotency key.
-- Answers a word and a number: `done` and the balance; or `reused`.
local balance, at, request = ARGV[1], ARGV[2], ARGV[3]
local known = repeated(KEYS[4], request)
if known then return known end

local version = string.format('%.0f', redis.call('HINCRBY', KEYS[3], 'version', 1))
tell(KEYS[2], '{"kind":"adjusted","version":' .. version .. ',"balance":' .. balance .. ',"at":' .. at .. '}')
redis.call('SET', KEYS[1], balance)
if KEYS[4] then redis.call('SET', KEYS[4], balance .. ' ' .. request, 'PX', KEPT_MS) end
return { 'done', balance }
