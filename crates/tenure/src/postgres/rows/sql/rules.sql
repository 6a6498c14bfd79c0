-- Who may go next: the questions of `memory/rules.rs`, which is their specification. `at` is the instant of the step.
-- Nothing here is called but by a step that is in order (`tenure.rows_begin`).

-- Whether a name is free of transactions that have it by `tenure.lock_xact`. Keeps such from it until the step is over.
create function tenure.rows_untaken(name bytea) returns boolean language sql volatile as
    'select pg_catalog.pg_try_advisory_xact_lock_shared(tenure.rows_key($1))';

-- Whether a waiting claim can be told of its grant. A listener has the lock of its own number for as long as it listens; who
-- makes the step (`tenure.listener`) is there, and may be the session that has that lock.
create function tenure.rows_lives(w tenure.leases, at bigint) returns boolean language plpgsql as $$
begin
    return w.ticket is not null and w.touched + 3000 > at
        and (w.listener <= 0 or w.listener::text = current_setting('tenure.listener')
            or not pg_try_advisory_xact_lock_shared(w.listener));
end $$;

-- Whether the holders of a name leave room.
create function tenure.rows_admits(name bytea, mode smallint, take integer, limits integer)
returns boolean language plpgsql as $$
declare
    has boolean;
begin
    if mode = 0 then
        has := exists (select from tenure.places p where p.name = rows_admits.name and p.ticket = 0);
    elsif mode = 1 then
        has := exists (select from tenure.places p where p.name = rows_admits.name and p.ticket = 0 and p.mode <> 1);
    else
        select coalesce(sum(case p.mode when 2 then p.take else limits end), 0) + rows_admits.take > limits into has
        from tenure.places p where p.name = rows_admits.name and p.ticket = 0;
    end if;
    return not has and tenure.rows_untaken(name);
end $$;

-- Whether a waiter is held up by another of its names, and has not been passed too often or for too long.
create function tenure.rows_may_be_passed(name bytea, w tenure.leases, at bigint)
returns boolean language plpgsql as $$
declare
    needed integer := case w.pick when 0 then cardinality(w.names) else w.pick end - 1;
    others integer;
begin
    if needed = 0 or w.passed >= 16 or at >= w.passed_since + 100 then
        return false;
    end if;
    select count(*) into others from unnest(w.names) other
    where other <> rows_may_be_passed.name and tenure.rows_admits(other, w.mode, w.take, w.limits);
    return others < needed;
end $$;

-- Whether a claim with this ticket may have the name now. Looks at no more than 128 waiters.
create function tenure.rows_is_open(name bytea, c tenure.leases, before bigint, at bigint)
returns boolean language plpgsql as $$
declare
    w tenure.leases;
    looked integer := 0;
begin
    if not tenure.rows_admits(name, c.mode, c.take, c.limits) then
        return false;
    end if;
    for w in
        select l.* from tenure.places p join tenure.leases l on l.id = p.id
        where p.name = rows_is_open.name and p.ticket > 0 and p.ticket < before order by p.ticket limit 128
    loop
        looked := looked + 1;
        if (w.mode <> 1 or c.mode <> 1) and tenure.rows_lives(w, at) and not tenure.rows_may_be_passed(name, w, at) then
            return false;
        end if;
    end loop;
    return looked < 128;
end $$;

-- The names that a claim with this ticket would take now; null when it has to wait.
create function tenure.rows_runnable(c tenure.leases, before bigint, at bigint)
returns bytea[] language plpgsql as $$
declare
    name bytea;
    picked bytea[] := '{}';
begin
    if at < (select closed_until from tenure.rows_state) then
        return null;
    end if;
    foreach name in array c.names loop
        if tenure.rows_is_open(name, c, before, at) then
            picked := picked || name;
            exit when cardinality(picked) = c.pick;
        elsif c.pick = 0 then
            return null;
        end if;
    end loop;
    return case when cardinality(picked) >= c.pick then picked end;
end $$;

-- Notes that a claim with this ticket passes the waiters that stand before it.
create function tenure.rows_overtake(mode smallint, names bytea[], before bigint, at bigint)
returns void language plpgsql as $$
declare
    one bytea;
begin
    if not exists (select from tenure.places p where p.name = any(names) and p.ticket > 0 and p.ticket < before) then
        return;
    end if;
    foreach one in array names loop
        update tenure.leases l set passed = l.passed + 1, passed_since = coalesce(l.passed_since, at)
        where l.id in (
            select p.id from tenure.places p
            where p.name = one and p.ticket > 0 and p.ticket < before
                and (p.mode <> 1 or rows_overtake.mode <> 1));
    end loop;
end $$;

-- The first claim that waits for one of the names and may go now, and what it would take.
create function tenure.rows_next(freed bytea[], at bigint, out next uuid, out picked bytea[])
language plpgsql as $$
declare
    one bytea;
    w tenure.leases;
    least bigint;
    names bytea[];
begin
    foreach one in array freed loop
        continue when exists (
            select from tenure.places p where p.name = one and p.ticket = 0 and p.mode = 0);
        for w in
            select l.* from tenure.places p join tenure.leases l on l.id = p.id
            where p.name = one and p.ticket > 0 order by p.ticket limit 128
        loop
            exit when w.ticket >= least;
            continue when not tenure.rows_lives(w, at);
            names := tenure.rows_runnable(w, w.ticket, at);
            if names is not null then
                next := w.id;
                picked := names;
                least := w.ticket;
                exit;
            end if;
        end loop;
    end loop;
end $$;
