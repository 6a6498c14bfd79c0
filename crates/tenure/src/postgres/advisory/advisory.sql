-- The schema of the mode advisory, version 2: sessions that hold or wait for locks, what they hold for longer than a
-- moment, and the steps on session advisory locks.

-- A connection of a process, and when it last gave a sign of life. A session whose sign is older than its ttl is ended by
-- whoever waits for what it holds.
create table tenure.session (
    pid int primary key,
    started timestamptz not null,
    process bigint not null,
    ttl interval not null,
    beat timestamptz not null
) with (fillfactor = 50);

-- Leases, and claims that wait, which are older than a second: for lists and for who is forced. Written by their process.
create table tenure.directory (
    digest bytea not null,
    process bigint not null,
    names text[] not null,
    mode text not null,
    take int not null,
    permits int not null,
    waits boolean not null,
    remote boolean not null,
    token bigint,
    ttl interval not null,
    since timestamptz not null,
    expires timestamptz,
    ahead int not null,
    meta text,
    primary key (process, digest)
);

-- The directory without what processes left that are gone.
create view tenure.directory_of_the_living as
    select d.* from tenure.directory d where exists (
        select from tenure.session s join pg_stat_activity a on a.pid = s.pid and a.backend_start = s.started
        where s.process = d.process);

-- One claim on names that are not all free for this process. bases: the keys of the names; free: those of them that may be
-- shared locks of this session, to let go first. shared: readers and permits share the key of the name. most: how many of the
-- names it needs; it gets those, the first that are free, or none. permits, take, mine: of permits, how many there are, how
-- many it takes, and the keys that this process has already. taken: one for each name that was tried. slots: the permits.
create function tenure.claim(bases bigint[], shared boolean, most int, permits int, take int, mine bigint[],
    out taken boolean[], out slots bigint[], out token bigint)
language plpgsql as $$
declare
    base bigint;
    slot bigint;
    got bigint[];
    won int := 0;
    ok boolean;
    n int := cardinality(bases);
begin
    taken := '{}';
    slots := '{}';
    for i in 1..n loop
        base := bases[i];
        if shared then
            ok := pg_try_advisory_lock_shared(base);
        else
            ok := pg_try_advisory_lock(base);
        end if;
        if ok and permits > 0 then
            got := '{}';
            for p in 1..permits loop
                exit when cardinality(got) = take;
                slot := base # (p::bigint << 40);
                if slot <> all (mine) and pg_try_advisory_lock(slot) then
                    got := got || slot;
                end if;
            end loop;
            if cardinality(got) < take then
                perform pg_advisory_unlock(k) from unnest(got) k;
                perform pg_advisory_unlock_shared(base);
                ok := false;
            else
                slots := slots || got;
            end if;
        end if;
        taken := taken || ok;
        if ok then
            won := won + 1;
        end if;
        exit when won = most or won + n - i < most;
    end loop;
    if won < most then
        perform pg_advisory_unlock(k) from unnest(slots) k;
        for i in 1..cardinality(taken) loop
            if taken[i] and shared then
                perform pg_advisory_unlock_shared(bases[i]);
            elsif taken[i] then
                perform pg_advisory_unlock(bases[i]);
            end if;
        end loop;
        slots := '{}';
    else
        token := nextval('tenure.token');
    end if;
end
$$;

-- Says that a session lives, and for how long that is to be believed; its tokens.
create function tenure.beat(of_process bigint, lasts interval) returns bigint
language plpgsql as $$
begin
    insert into tenure.session as s (pid, started, process, ttl, beat)
    select pg_backend_pid(), a.backend_start, of_process, lasts, clock_timestamp()
        from pg_stat_activity a where a.pid = pg_backend_pid()
    on conflict (pid) do update set started = excluded.started, process = excluded.process, ttl = excluded.ttl,
        beat = excluded.beat;
    return nextval('tenure.token');
end
$$;

-- Says that the waiting sessions of a process live: they cannot say so themselves.
create function tenure.beat_for(pids int[]) returns void
language sql as $$
    update tenure.session set beat = clock_timestamp() where pid = any (pids)
$$;

-- Who waits for a key, apart from the sessions of a process.
create function tenure.others_wait(key bigint, of_process bigint) returns boolean
language sql as $$
    select exists (
        select from pg_locks l
        where l.locktype = 'advisory' and not l.granted and l.objsubid = 1
            and l.database = (select oid from pg_database where datname = current_database())
            and l.classid = ((key >> 32) & 4294967295)::oid and l.objid = (key & 4294967295)::oid
            and not exists (select from tenure.session s where s.pid = l.pid and s.process = of_process)
    )
$$;

-- Has the holders of a key told that somebody waits for it, and ends those of them that have given no sign of life for their
-- ttl. waits: whether a session of this process waits in the server's queue.
create function tenure.look(key bigint, waiter int, announce boolean, out waits boolean, out ended int)
language plpgsql as $$
declare
    holder record;
begin
    waits := false;
    ended := 0;
    for holder in
        select l.pid, l.granted, s.process, s.beat + s.ttl < clock_timestamp() as overdue
        from pg_locks l
        left join pg_stat_activity a on a.pid = l.pid
        left join tenure.session s on s.pid = l.pid and s.started = a.backend_start
        where l.locktype = 'advisory' and l.objsubid = 1
            and l.database = (select oid from pg_database where datname = current_database())
            and l.classid = ((key >> 32) & 4294967295)::oid and l.objid = (key & 4294967295)::oid
    loop
        if holder.pid = waiter then
            waits := not holder.granted;
        elsif holder.granted and holder.overdue then
            perform pg_terminate_backend(holder.pid);
            ended := ended + 1;
        elsif holder.granted and announce and holder.process is not null then
            perform pg_notify('tenure_' || holder.process, 'w' || key);
        end if;
    end loop;
end
$$;

-- Sweeps up what sessions and processes left that are gone.
create function tenure.sweep() returns void
language sql as $$
    delete from tenure.session s where not exists (
        select from pg_stat_activity a where a.pid = s.pid and a.backend_start = s.started);
    delete from tenure.directory d where not exists (select from tenure.session s where s.process = d.process);
$$;
