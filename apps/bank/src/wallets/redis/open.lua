-- Reads a wallet; with a token, for a write that is to follow: raises the fence, unless a greater token was here.
--
-- KEYS[1] the balance, [2] a hash of the wallet's `version` and `fence`. ARGV[1] the token of a lock, or nothing.
-- Answers `open`, the balance and the version; `missing`; or `stale` and the fence. How tokens are compared: withdraw.lua.
local balance = redis.call('GET', KEYS[1])
if not balance then return { 'missing' } end
local wallet = redis.call('HMGET', KEYS[2], 'version', 'fence')
local version, fence, token = wallet[1] or '0', wallet[2] or '0', ARGV[1]
if token ~= '' and token ~= fence then
  if #token < #fence or (#token == #fence and token < fence) then return { 'stale', fence } end
  redis.call('HSET', KEYS[2], 'fence', token)
end
return { 'open', balance, version }
