-- A command on a value, unless its token is older than the fence.
--
-- KEYS[1] the value, KEYS[2] its fence: the greatest token seen. ARGV: a token, a command, its arguments behind the key.
-- Answers what the command answers, or the error STALE.
--
-- Tokens have up to 63 bits and Lua's numbers 53, so they stay texts: of two without leading zeros the longer is the greater,
-- and of two that are as long the one that is greater byte for byte.
local function older(a, b)
  if #a ~= #b then return #a < #b end
  return a < b
end
local function is_token(text)
  return string.find(text, '^[1-9]%d*$') and not older('9223372036854775807', text)
end

local token, fence = ARGV[1], redis.call('GET', KEYS[2])
if not is_token(token) then
  return redis.error_reply('ERR a token is a decimal number from 1 to 2^63-1')
end
if fence and not is_token(fence) then
  return redis.error_reply('ERR what is in the fence is no token')
end
if fence and older(token, fence) then
  return redis.error_reply('STALE a newer holder was here fence=' .. fence)
end
if token ~= fence then redis.call('SET', KEYS[2], token) end
return redis.call(ARGV[2], KEYS[1], unpack(ARGV, 3))
