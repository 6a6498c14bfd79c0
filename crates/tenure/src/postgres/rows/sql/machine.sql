-- What steps do to the lease table: `memory/table.rs` is their specification. `at` is the instant of the step.
-- Nothing here is called but by a step that is in order (`tenure.rows_begin`).

-- Begins a step: waits for those before it, and sees to it that the server is the one that granted last. Its instant.
create function tenure.rows_begin(listener bigint) returns bigint language plpgsql as $$
declare
    at bigint;
begin
    -- A step waits for other steps, which are short. What has something locked for longer is a fault, and told as such.
    perform set_config('lock_timeout', '2000', true), set_config('synchronous_commit', 'off', true),
        set_config('tenure.listener', listener::text, true);
    lock table tenure.rows_order in exclusive mode;
    at := (extract(epoch from clock_timestamp()) * 1000)::bigint;
    if pg_postmaster_start_time() is distinct from (select r.started from tenure.rows_run r) then
        perform tenure.rows_restart(at);
    end if;
    return at;
end $$;

-- The server was started since the last step, or is another one. When it did not end in order, the last commits may be lost,
-- and with them grants that somebody believes in: then nothing is granted until those are over. Tokens go on in a new epoch.
create function tenure.rows_restart(at bigint) returns void language plpgsql as $$
begin
    perform tenure.begin();
    update tenure.rows_run set started = pg_postmaster_start_time();
    if not found then
        update tenure.rows_state set unsynced_ttl = 0,
            closed_until = greatest(closed_until, case unsynced_ttl when 0 then 0 else at + unsynced_ttl end);
        insert into tenure.rows_run values (pg_postmaster_start_time());
    end if;
    -- Who waited could not touch its claim meanwhile.
    update tenure.leases set touched = at where ticket is not null;
    perform set_config('synchronous_commit', 'on', true);
end $$;

-- Sees to it that a lease of this ttl outlasts a crash of the server, or that the server then waits until it is over.
create function tenure.rows_promise(ttl integer) returns void language plpgsql as $$
begin
    if ttl <= (select unsynced_ttl from tenure.rows_state) then
        return;
    end if;
    perform set_config('synchronous_commit', 'on', true);
    if ttl <= 30000 then
        update tenure.rows_state set unsynced_ttl = ttl;
    end if;
end $$;

-- Tells the listener of a claim.
create function tenure.rows_tell(listener bigint, what text) returns void language plpgsql as $$
begin
    if listener > 0 then
        perform pg_notify('tenure_' || listener, what);
    end if;
end $$;

create function tenure.rows_remember(id uuid, why "char", how smallint, at bigint) returns void language plpgsql as $$
begin
    insert into tenure.ended values (id, why, how, at + 60000) on conflict do nothing;
    delete from tenure.ended e where e.id in (select o.id from tenure.ended o where o.until <= at order by o.until limit 16);
end $$;

create function tenure.rows_contended(names bytea[]) returns boolean language plpgsql as $$
begin
    return exists (select from tenure.places p where p.name = any(names) and p.ticket > 0);
end $$;

-- Makes a claim the holder of names, out of the next tokens.
create function tenure.rows_hold(c tenure.leases, picked bytea[], span integer, at bigint)
returns tenure.leases language plpgsql as $$
begin
    perform tenure.rows_promise(span);
    update tenure.leases l set held = picked, since = at, expires = at + span, ticket = null, touched = null, passed = 0,
        passed_since = null, token = nextval('tenure.token'), tokens = case c.mode when 0 then least(c.wanted, 1024) else 1 end
    where l.id = c.id returning * into c;
    insert into tenure.places select n, 0, c.id, c.mode, c.take from unnest(picked) n;
    return c;
end $$;

-- Grants a waiting claim the names that it may have, as an offer.
create function tenure.rows_serve(w tenure.leases, picked bytea[], at bigint) returns void language plpgsql as $$
declare
    span integer := least(w.ttl, 3000);
    which text := '';
begin
    perform tenure.rows_overtake(w.mode, picked, w.ticket, at);
    delete from tenure.places p where p.name = any(w.names) and p.id = w.id;
    w := tenure.rows_hold(w, picked, span, at);
    if w.pick > 0 then
        select string_agg((n.ord - 1)::text, ',') into which
        from unnest(w.names) with ordinality n(name, ord) where n.name = any(picked);
    end if;
    perform tenure.rows_tell(w.listener, concat_ws(' ', 'G', w.id, w.token, w.tokens, span,
        tenure.rows_contended(picked)::integer, which));
end $$;

-- Grants the claims that became runnable because names were freed, in the order of their tickets.
create function tenure.rows_grant_next(freed bytea[], at bigint) returns void language plpgsql as $$
declare
    w tenure.leases;
    found_one record;
begin
    for i in 1..64 loop
        exit when not tenure.rows_contended(freed);
        found_one := tenure.rows_next(freed, at);
        exit when found_one.next is null;
        select * into w from tenure.leases l where l.id = found_one.next;
        perform tenure.rows_serve(w, found_one.picked, at);
        -- It left the queues of all names that it asked for: those behind it there may go now.
        freed := array(select distinct n from unnest(freed || w.names) n);
    end loop;
end $$;

-- Takes a claim out of the table and lets the next ones in. `why` is for a holder who did not end it.
create function tenure.rows_drop(c tenure.leases, why "char", how smallint, at bigint) returns void language plpgsql as $$
declare
    freed bytea[] := coalesce(c.held, c.names);
begin
    if why is not null and not c.given_up then
        perform tenure.rows_tell(c.listener, concat_ws(' ', 'L', c.id, why));
    end if;
    -- A claim that was granted at once, and answered, does not come again after its end.
    if why is not null or how = 3 or c.absorbs then
        perform tenure.rows_remember(c.id, coalesce(why, 'u'), how, at);
    end if;
    delete from tenure.places p where p.name = any(freed) and p.id = c.id;
    delete from tenure.leases l where l.id = c.id;
    perform tenure.rows_grant_next(freed, at);
end $$;

-- Drops what is over: leases that expired, waiters that nobody touched.
create function tenure.rows_refresh(names bytea[], at bigint) returns void language plpgsql as $$
declare
    c tenure.leases;
    dropped boolean;
begin
    loop
        dropped := false;
        for c in
            select l.* from unnest(rows_refresh.names) n(name) cross join lateral (
                (select p.id from tenure.places p where p.name = n.name and p.ticket = 0)
                union all
                (select p.id from tenure.places p where p.name = n.name and p.ticket > 0 order by p.ticket limit 128)
            ) near join tenure.leases l on l.id = near.id
            where l.expires <= at or l.touched + 3000 <= at
        loop
            -- A step of this loop may have granted it: then it is not over.
            select * into c from tenure.leases l where l.id = c.id and (l.expires <= at or l.touched + 3000 <= at);
            if found then
                perform tenure.rows_drop(c, 'e', null, at);
                dropped := true;
            end if;
        end loop;
        exit when not dropped;
    end loop;
end $$;

-- Grants a waiting claim that may go.
create function tenure.rows_promote(c tenure.leases, at bigint) returns void language plpgsql as $$
declare
    picked bytea[];
begin
    if c.ticket is not null then
        picked := tenure.rows_runnable(c, c.ticket, at);
    end if;
    if picked is not null then
        perform tenure.rows_serve(c, picked, at);
        perform tenure.rows_grant_next(c.names, at);
    end if;
end $$;
