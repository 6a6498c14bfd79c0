-- Remembers that an id ended.
-- ?1 lease: blob, ?2 why: integer, ?3 until: instant.
insert into ended (lease, why, until) values (?1, ?2, ?3) on conflict (lease) do update set why = excluded.why
