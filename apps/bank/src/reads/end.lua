-- Ends values of the shared cache that are older than a version each, and tells all instances.
-- KEYS[i] its entry
-- ARGV[1] for how long the version stays, so that nothing older is put, in milliseconds
-- ARGV[2] the channel
-- ARGV[2i + 1] the version in twenty digits; empty when it is not known
-- ARGV[2i + 2] the news
-- No result.
for i, key in ipairs(KEYS) do
    local version = ARGV[2 * i + 1]
    if version == '' then
        redis.call('DEL', key)
    elseif redis.call('GETRANGE', key, 0, 19) < version then
        redis.call('SET', key, version, 'PX', ARGV[1])
    end
    redis.call('PUBLISH', ARGV[2], ARGV[2 * i + 2])
end
