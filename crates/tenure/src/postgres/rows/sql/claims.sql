-- Asks for leases. Each claim is a number in the arrays; its names are `counts` of `names` from `firsts` on. `again`: whether
-- it was sent before over a connection that failed. `replaces`: ids that are given up for it, with commas between.
create function tenure.rows_claim(listener bigint, ids uuid[], firsts integer[], counts integer[], names bytea[],
    modes smallint[], takes integer[], limits integer[], picks integer[], ttls integer[], lingers integer[], remotes boolean[],
    wanted integer[], metas bytea[], waits boolean[], again boolean[], replaces text[])
returns table (number integer, answer tenure.answer) language plpgsql
set plan_cache_mode = force_generic_plan set enable_seqscan = off set enable_hashjoin = off set enable_mergejoin = off set jit = off as $$
declare
    at bigint := tenure.rows_begin(listener);
    done integer[] := '{}';
    tokens bigint[];
    counts_given integer[];
    c tenure.leases;
begin
    if at >= (select closed_until from tenure.rows_state) then
        perform tenure.rows_promise((select max(t) from unnest(ttls) t));
        -- One name each, exclusively, which nobody has or waits for.
        with asked as (
            select distinct on (names[u.first]) u.*, names[u.first] as name
            from unnest(ids, firsts, counts, modes, ttls, lingers, remotes, rows_claim.wanted, metas, rows_claim.again, replaces)
                with ordinality u(id, first, count, mode, ttl, linger, remote, wanted, meta, again, replaces, ord)
            where u.mode = 0 and u.count = 1 and u.linger = 0 and u.replaces = ''
                and not exists (select from tenure.places p where p.name = names[u.first])
                and not exists (select from tenure.leases l where l.id = u.id)
                and not exists (select from tenure.ended e where e.id = u.id)
            order by names[u.first], u.ord
        ), free as materialized (
            select a.*, nextval('tenure.token') as token from asked a where tenure.rows_untaken(a.name)
        ), placed as (
            insert into tenure.places select f.name, 0, f.id, 0, 0 from free f
        ), held as (
            insert into tenure.leases (id, listener, names, mode, take, limits, pick, ttl, linger, remote, wanted, absorbs,
                meta, since, held, token, tokens, expires)
            select f.id, rows_claim.listener, array[f.name], 0, 0, 0, 0, f.ttl, 0, f.remote, f.wanted, f.remote or f.again,
                f.meta, at, array[f.name], f.token, least(f.wanted, 1024), at + f.ttl
            from free f
        )
        select coalesce(array_agg(f.ord::integer), '{}'), array_agg(f.token), array_agg(least(f.wanted, 1024))
        into done, tokens, counts_given from free f;
        return query
            select d.number, row('G', null, d.token, d.count, ttls[d.number], 0, null, null, null, null, null)::tenure.answer
            from unnest(done, tokens, counts_given) d(number, token, count);
    end if;
    if cardinality(done) = cardinality(ids) then
        return;
    end if;
    for i in 1..cardinality(ids) loop
        continue when i = any(done);
        number := i;
        c := row(ids[number], listener, names[firsts[number]:firsts[number] + counts[number] - 1], modes[number],
            takes[number], limits[number], picks[number], ttls[number], lingers[number], remotes[number], wanted[number],
            remotes[number] or again[number] or lingers[number] > 0, metas[number], at, null, null, null, null, false,
            false, null, null, 0, null);
        answer := tenure.rows_claim_one(c, waits[number], string_to_array(replaces[number], ',')::uuid[], at);
        return next;
    end loop;
end $$;

create function tenure.rows_claim_one(c tenure.leases, wait boolean, replaces uuid[], at bigint)
returns tenure.answer language plpgsql as $$
declare
    known tenure.leases;
    other uuid;
    one bytea;
    picked bytea[];
begin
    select * into known from tenure.leases l where l.id = c.id;
    if found then
        return tenure.rows_ask_again(known, at);
    elsif exists (select from tenure.ended e where e.id = c.id) then
        return tenure.rows_busy('{}', at);
    end if;
    perform tenure.rows_refresh(c.names, at);
    one := tenure.rows_mixed(c);
    if one is not null then
        return tenure.rows_refusal('m', one);
    end if;
    foreach other in array replaces loop
        perform tenure.rows_end_one(other, false, at);
    end loop;
    picked := tenure.rows_runnable(c, 9223372036854775807, at);
    if picked is not null then
        perform tenure.rows_overtake(c.mode, picked, 9223372036854775807, at);
        insert into tenure.leases select (c).*;
        return tenure.rows_grant(tenure.rows_hold(c, picked, c.ttl, at), false, at);
    elsif wait then
        return tenure.rows_enqueue(c, at);
    end if;
    return tenure.rows_busy(c.names, at);
end $$;

-- A claim that is known already: the same answer, and a touch.
create function tenure.rows_ask_again(known tenure.leases, at bigint) returns tenure.answer language plpgsql as $$
declare
    c tenure.leases;
begin
    -- It has come twice, and may come again.
    update tenure.leases l set absorbs = true, touched = case when l.ticket is null then null else at end where l.id = known.id;
    perform tenure.rows_refresh(known.names, at);
    select * into c from tenure.leases l where l.id = known.id;
    perform tenure.rows_promote(c, at);
    select * into c from tenure.leases l where l.id = known.id;
    if c.ticket is not null then
        return tenure.rows_place(c, at);
    elsif c.held is not null and not c.given_up then
        return tenure.rows_grant(c, true, at);
    end if;
    return tenure.rows_busy(known.names, at);
end $$;

create function tenure.rows_enqueue(c tenure.leases, at bigint) returns tenure.answer language plpgsql as $$
declare
    one bytea;
    waiting integer;
    h record;
begin
    foreach one in array c.names loop
        select count(*) into waiting from tenure.places p where p.name = one and p.ticket > 0;
        if waiting >= 10000 then
            return tenure.rows_refusal('w', one);
        end if;
    end loop;
    c.ticket := nextval('tenure.tickets');
    c.touched := at;
    -- Whoever waits may ask again while an earlier try is still on its way.
    c.absorbs := true;
    foreach one in array c.names loop
        continue when tenure.rows_contended(array[one]);
        for h in
            select l.listener, l.id from tenure.places p join tenure.leases l on l.id = p.id
            where p.name = one and p.ticket = 0
        loop
            perform tenure.rows_tell(h.listener, concat_ws(' ', 'C', h.id));
        end loop;
    end loop;
    insert into tenure.leases select (c).*;
    insert into tenure.places select n, c.ticket, c.id, c.mode, c.take from unnest(c.names) n;
    return tenure.rows_place(c, at);
end $$;
