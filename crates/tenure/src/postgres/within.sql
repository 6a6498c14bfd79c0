-- Locks a name exclusively until the end of the caller's transaction, commit or rollback, in either mode of the database.
--
-- name: as everywhere. wait_ms: how long to wait at most; 0 tries once, null waits for as long as it takes.
-- Answers a fencing token, or null when the name was busy for so long; then nothing is locked, and the transaction goes on.
-- The caller's settings are after it what they were before, and its statement_timeout counts.
-- Fails with SQLSTATE TN002 while no epoch has begun since the server was started: a session of ours has to begin it, since who does
-- keeps all others waiting until the end of its transaction.
create function tenure.lock_xact(name text, wait_ms integer default null) returns bigint language plpgsql
-- Restored at the end, however that comes; what is set inside lasts no longer.
set lock_timeout = 0 as $$
declare
    key bigint := tenure.key(name);
    ends timestamptz := clock_timestamp() + wait_ms * interval '1 ms';
    pause double precision := 0.002;
begin
    if not tenure.has_begun() then
        raise exception 'no epoch of tokens has begun since the server was started'
            using errcode = 'TN002', hint = 'Run "select tenure.begin()" in a transaction of its own, then try again.';
    end if;
    if octet_length(convert_to(name, 'UTF8')) not between 1 and 255 then
        raise exception 'a name has from 1 to 255 bytes' using errcode = 'invalid_parameter_value';
    end if;
    -- What is taken in this block is given back when it fails, also a lock that was granted just as its wait ran out.
    begin
        if wait_ms = 0 then
            if not pg_try_advisory_xact_lock(key) then
                return null;
            end if;
        else
            perform set_config('lock_timeout', coalesce(wait_ms, 0)::text, true);
            perform pg_advisory_xact_lock(key);
        end if;
        -- Nobody is granted a row of this name from here on. Who has one ends it without knowing of us.
        while tenure.rows_hold_name(name) loop
            if clock_timestamp() >= ends then
                raise lock_not_available;
            end if;
            perform pg_sleep(least(pause, coalesce(extract(epoch from ends - clock_timestamp()), pause)));
            pause := least(pause * 1.5, 0.05);
        end loop;
    exception when lock_not_available then
        return null;
    end;
    return nextval('tenure.token');
end $$;

-- Whether an epoch has begun since the server was started, recovered or promoted. Processes begin one when they connect.
create function tenure.has_begun() returns boolean language sql stable as $$
    select exists (select from tenure.run r where r.started = pg_postmaster_start_time())
$$;

-- Whether a lease row may hold a name now, also one that a crash of the server may have lost.
create function tenure.rows_hold_name(name text) returns boolean language plpgsql as $$
declare
    at bigint := (extract(epoch from clock_timestamp()) * 1000)::bigint;
    run timestamptz := (select r.started from tenure.rows_run r);
    state tenure.rows_state;
begin
    if (select m.mode from tenure.meta m) is distinct from 'rows' then
        return false;
    elsif current_setting('transaction_isolation') <> 'read committed' then
        raise exception 'in a database of rows a lock for a transaction needs the isolation level read committed'
            using errcode = 'feature_not_supported';
    end if;
    select * into state from tenure.rows_state;
    -- After a crash that no step has noticed yet.
    if run is null and state.unsynced_ttl > 0 then
        state.closed_until := greatest(state.closed_until,
            (extract(epoch from pg_postmaster_start_time()) * 1000)::bigint + state.unsynced_ttl);
    end if;
    return at < state.closed_until or exists (
        select from tenure.places p join tenure.leases l on l.id = p.id
        where p.name = convert_to(rows_hold_name.name, 'UTF8') and p.ticket = 0 and l.expires > at);
end $$;
