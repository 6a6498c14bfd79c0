-- The head of the scripts that change a wallet: what is known of an idempotency key, and what they all do last.
--
-- What is known is a text: the balance that was answered, a space, and what was asked. It is kept for a day.
local KEPT_MS = '86400000'
-- How many entries a list of the history has at most.
local ENTRIES = 1000

-- The answer to a change that was carried out under this key before; nil where it was not. `key` is nil where the change has none.
local function repeated(key, request)
  local known = key and redis.call('GET', key)
  if not known then return nil end
  local balance, asked = string.match(known, '^(%S+) (.*)$')
  if asked ~= request then return { 'reused', '0' } end
  return { 'done', balance }
end

-- Writes an entry at the head of a history.
local function tell(history, entry)
  if redis.call('LPUSH', history, entry) > ENTRIES then redis.call('LTRIM', history, 0, ENTRIES - 1) end
end
