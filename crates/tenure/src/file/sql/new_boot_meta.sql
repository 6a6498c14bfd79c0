-- After a restart of the machine: the clock is another, tokens jump to a new epoch, and the store stays closed for as
-- long as a remote lease may live whose grant did not reach the disk.
-- ?1 boot: text, ?2 next token, ?3 now: instant.
update meta set boot = ?1, next_token = ?2, closed_until = case unsynced_ttl when 0 then 0 else ?3 + unsynced_ttl end,
    unsynced_ttl = 0
