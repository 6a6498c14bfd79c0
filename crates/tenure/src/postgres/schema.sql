-- The schema of the store, version 1: its identity, its tokens, and the number of its incarnation. Run once, in a
-- transaction, under the advisory lock of the migrator.

create schema if not exists tenure;

-- One row. version: how many migrations were run. mode: advisory or rows; null until a process has recorded it.
-- epoch: of the present incarnation, and never lower than any before.
create table tenure.meta (
    singleton boolean primary key default true check (singleton),
    version int not null,
    hash text not null,
    mode text check (mode in ('advisory', 'rows')),
    epoch bigint not null
);
insert into tenure.meta (version, hash, epoch) values (0, 'sha256', 0);

-- Fencing tokens, 1,024 a step: the value and the 1,023 after it are the caller's. Epoch above counter, so that a counter that
-- is used up goes over into the next epoch.
create sequence tenure.token as bigint increment by 1024 minvalue 0 start 0;

-- The incarnation that the epoch is of. Unlogged on purpose: PostgreSQL empties it when it recovers from a crash, when a
-- standby is promoted and when a backup is restored, which are just the times when the sequence may have gone back.
create unlogged table tenure.run (started timestamptz not null, epoch bigint not null);

-- The 64-bit key of a name, for pg_advisory_lock and its kin: the first 8 bytes of SHA-256 over 'tenure:' and the name.
create function tenure.key(name text) returns bigint language sql immutable strict parallel safe as $$
    select ('x' || left(encode(sha256(convert_to('tenure:' || name, 'UTF8')), 'hex'), 16))::bit(64)::bigint
$$;

-- Called first by every session: the epoch of this incarnation, a new one when the server was started anew or has
-- recovered since it was asked last. Two more than the greatest seen, since a counter that had just gone over to the next
-- epoch may have gone back.
create function tenure.begin() returns bigint language plpgsql as $$
declare
    since timestamptz := pg_postmaster_start_time();
    found_epoch bigint;
begin
    select r.epoch into found_epoch from tenure.run r where r.started = since;
    if found then
        return found_epoch;
    end if;
    perform pg_advisory_xact_lock(tenure.key('tenure/schema'));
    select r.epoch into found_epoch from tenure.run r where r.started = since;
    if found then
        return found_epoch;
    end if;
    -- An epoch that a crash forgets would be given twice.
    perform set_config('synchronous_commit', 'on', true);
    update tenure.meta m set epoch = greatest(m.epoch, (select s.last_value >> 32 from tenure.token s)) + 2
        returning m.epoch into found_epoch;
    perform setval('tenure.token', found_epoch << 32, false);
    delete from tenure.run;
    insert into tenure.run values (since, found_epoch);
    return found_epoch;
end
$$;
