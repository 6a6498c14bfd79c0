-- The steps, one function for each kind of them. A call is one transaction and carries many steps, which are answered with
-- their numbers; each is by itself what it would be alone. What is common and simple goes together in one statement, the
-- rest one by one.
--
-- The settings keep plans from depending on what the tables held when a session first called a function.

-- Ends leases and withdraws claims. `again`: whether the answer of an earlier call may have been lost.
create function tenure.rows_end(listener bigint, ids uuid[], again boolean[])
returns table (number integer, answer tenure.answer) language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
    at bigint := tenure.rows_begin(listener);
    done integer[];
begin
    -- Leases that nobody waits for and that leave no trace.
    with gone as (
        delete from tenure.leases l using unnest(ids) with ordinality e(id, ord)
        where l.id = e.id and l.expires > at and l.linger = 0 and not l.absorbs
            and not exists (select from tenure.places w where w.name = any(l.held) and w.ticket > 0)
        returning l.id, l.held, e.ord::integer
    ), freed as (
        delete from tenure.places p using gone g where p.name = any(g.held) and p.ticket = 0 and p.id = g.id
    )
    select coalesce(array_agg(g.ord), '{}') into done from gone g;
    return query
        select d, row('E', null, null, null, null, null, null, null, null, null, 1::smallint)::tenure.answer
        from unnest(done) d;
    if cardinality(done) < cardinality(ids) then
        return query
            select e.ord::integer, tenure.rows_end_one(e.id, again[e.ord], at)
            from unnest(ids) with ordinality e(id, ord) where e.ord <> all(done) order by e.ord;
    end if;
end $$;

create function tenure.rows_end_one(id uuid, again boolean, at bigint) returns tenure.answer language plpgsql as $$
declare
    c tenure.leases;
    how smallint;
begin
    select * into c from tenure.leases l where l.id = rows_end_one.id;
    if not found then
        if again then
            select e.how into how from tenure.ended e where e.id = rows_end_one.id;
        end if;
        perform tenure.rows_remember(id, 'u', null, at);
    elsif c.expires <= at then
        perform tenure.rows_drop(c, 'e', null, at);
    elsif c.held is not null and c.linger > 0 and c.since + c.linger > at then
        how := 2;
        update tenure.leases l set expires = c.since + c.linger, given_up = true where l.id = c.id;
    else
        how := case when c.held is null then 3 else 1 end;
        perform tenure.rows_drop(c, null, how, at);
    end if;
    return row('E', null, null, null, null, null, null, null, null, null, coalesce(how, 0::smallint))::tenure.answer;
end $$;

-- Renews leases, touches claims that wait, draws further tokens. With ttl 0 it only looks.
create function tenure.rows_keep(listener bigint, ids uuid[], ttls integer[], tokens integer[])
returns table (number integer, answer tenure.answer) language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
    at bigint := tenure.rows_begin(listener);
    done integer[];
    answers tenure.answer[];
begin
    perform tenure.rows_promise((select max(t) from unnest(ttls) t));
    -- Leases that are held and wanted back by nobody.
    with kept as (
        update tenure.leases l set expires = greatest(l.expires, at + k.ttl), ttl = k.ttl
        from unnest(ids, ttls, rows_keep.tokens) with ordinality k(id, ttl, more, ord)
        where l.id = k.id and k.ttl > 0 and k.more = 0 and l.expires > at and not l.revoked and not l.given_up
        returning k.ord::integer, l.held, l.token, l.tokens, l.expires
    )
    select coalesce(array_agg(k.ord), '{}'), array_agg(row('G', k.held, k.token, k.tokens, k.expires - at,
        exists (select from tenure.places w where w.name = any(k.held) and w.ticket > 0)::integer,
        null, null, null, null, null)::tenure.answer)
    into done, answers from kept k;
    return query select u.d, row(u.kind, u.names, u.token, u.tokens, u.left_ms, u.flags, u.many, u.holder, u.meta, u.why, u.how)::tenure.answer
        from unnest(done, answers) u(d, kind, names, token, tokens, left_ms, flags, many, holder, meta, why, how);
    if cardinality(done) < cardinality(ids) then
        return query
            select k.ord::integer, tenure.rows_keep_one(k.id, k.ttl, k.more, at)
            from unnest(ids, ttls, rows_keep.tokens) with ordinality k(id, ttl, more, ord)
            where k.ord <> all(done) order by k.ord;
    end if;
end $$;

create function tenure.rows_keep_one(id uuid, ttl integer, more integer, at bigint)
returns tenure.answer language plpgsql as $$
declare
    c tenure.leases;
    answer tenure.answer;
begin
    select * into c from tenure.leases l where l.id = rows_keep_one.id;
    if found and ttl > 0 then
        update tenure.leases l set touched = at where l.id = c.id and l.ticket is not null;
        perform tenure.rows_refresh(c.names, at);
        select * into c from tenure.leases l where l.id = c.id;
        if found and c.ticket is not null then
            answer := tenure.rows_place(c, at);
            -- Nobody looks as deep into a queue as to grant what stands beyond.
            if answer.many >= 128 then
                return answer;
            end if;
            perform tenure.rows_promote(c, at);
            select * into c from tenure.leases l where l.id = c.id;
        end if;
    end if;
    if c.id is null or c.given_up then
        return tenure.rows_gone(rows_keep_one.id);
    elsif c.ticket is not null then
        return tenure.rows_place(c, at);
    end if;
    if ttl > 0 or more > 0 then
        update tenure.leases l set
            ttl = case when rows_keep_one.ttl > 0 then rows_keep_one.ttl else l.ttl end,
            expires = case when l.revoked then l.expires else greatest(l.expires, at + rows_keep_one.ttl) end,
            token = case when more > 0 and l.mode = 0 then nextval('tenure.token') else l.token end,
            tokens = case when more > 0 and l.mode = 0 then least(more, 1024) else l.tokens end
        where l.id = c.id returning * into c;
    end if;
    return tenure.rows_grant(c, false, at);
end $$;

-- Takes a lease from its holder, or a waiter from the queue. `digest`: what people see of its id. `how`: f at once, r by asking.
create function tenure.rows_force(listener bigint, digest bytea, how "char") returns smallint language plpgsql as $$
declare
    at bigint := tenure.rows_begin(listener);
    c tenure.leases;
begin
    select * into c from tenure.leases l where substring(sha256(uuid_send(l.id)) for 8) = digest;
    if not found then
        return 0;
    elsif how = 'r' and c.held is not null and not c.given_up then
        update tenure.leases l set revoked = true where l.id = c.id;
        perform tenure.rows_tell(c.listener, concat_ws(' ', 'R', c.id));
        return 2;
    end if;
    perform tenure.rows_drop(c, 'f', null, at);
    return 1;
end $$;
