-- After a restart of the machine: what is still held begins its time anew on the new clock, since nobody knows how long
-- the machine was off.
-- ?1 now: instant.
update leases set since = ?1, expires = ?1 + case ended when 1 then linger else ttl end
