-- Puts values into the shared cache, each unless something newer is known.
-- KEYS[i] its entry
-- ARGV[1] for how long, in milliseconds
-- ARGV[i + 1] the entry: a version of twenty digits, a moment, a value
-- No result. Versions are compared as texts, since numbers of Lua are not exact.
for i, key in ipairs(KEYS) do
    local entry = ARGV[i + 1]
    if redis.call('GETRANGE', key, 0, 19) <= string.sub(entry, 1, 20) then
        redis.call('SET', key, entry, 'PX', ARGV[1])
    end
end
