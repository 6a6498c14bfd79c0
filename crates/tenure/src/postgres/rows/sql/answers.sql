-- What steps answer. Nothing here changes anything.

create function tenure.rows_grant(c tenure.leases, repeated boolean, at bigint)
returns tenure.answer language plpgsql as $$
declare
    flags integer := tenure.rows_contended(c.held)::integer + 2 * c.revoked::integer + 4 * repeated::integer;
begin
    return row('G', c.held, c.token, c.tokens, greatest(c.expires - at, 0), flags, null, null, null, null, null)::tenure.answer;
end $$;

create function tenure.rows_place(c tenure.leases, at bigint) returns tenure.answer language plpgsql as $$
declare
    ahead integer;
    expires bigint;
begin
    select coalesce(max(before), 0) into ahead from unnest(c.names) n(name) cross join lateral (
        select count(*) as before from tenure.places p where p.name = n.name and p.ticket > 0 and p.ticket < c.ticket) q;
    select min(l.expires) into expires from tenure.places p join tenure.leases l on l.id = p.id
    where p.name = any(c.names) and p.ticket = 0;
    return row('Q', null, null, null, coalesce(greatest(expires - at, 0), -1), null, ahead, null, null, null, null)::tenure.answer;
end $$;

-- What is in the way of a claim on names.
create function tenure.rows_busy(names bytea[], at bigint) returns tenure.answer language plpgsql as $$
declare
    one bytea;
    c tenure.leases;
    waiting integer;
    left_ms bigint;
begin
    select n into one from unnest(names) with ordinality u(n, ord)
    where exists (select from tenure.places p where p.name = n) order by ord limit 1;
    if one is null then
        return row('B', null, null, null, -1, null, 0, null, null, null, null)::tenure.answer;
    end if;
    select l.* into c from tenure.places p join tenure.leases l on l.id = p.id
    where p.name = one and p.ticket = 0 order by l.token limit 1;
    select count(*) into waiting from tenure.places p where p.name = one and p.ticket > 0;
    select min(l.expires) - at into left_ms from tenure.places p join tenure.leases l on l.id = p.id
    where p.name = one and p.ticket = 0;
    return row('B', array[one], null, null, coalesce(greatest(left_ms, 0), -1), null, waiting, c.id, c.meta, null, null)::tenure.answer;
end $$;

create function tenure.rows_gone(id uuid) returns tenure.answer language plpgsql as $$
begin
    return row('N', null, null, null, null, null, null, null, null,
        coalesce((select e.why from tenure.ended e where e.id = rows_gone.id), 'u'), null)::tenure.answer;
end $$;

create function tenure.rows_refusal(why "char", name bytea) returns tenure.answer language plpgsql as $$
begin
    return row('X', array[name], null, null, null, null, null, null, null, why, null)::tenure.answer;
end $$;

-- The first name whose present use does not mix with that of a claim: permits with locks, or permits of another limit.
create function tenure.rows_mixed(c tenure.leases) returns bytea language plpgsql as $$
begin
    return (
        select n.name from unnest(c.names) with ordinality n(name, ord) cross join lateral (
            (select p.id from tenure.places p where p.name = n.name and p.ticket = 0 limit 1)
            union all
            (select p.id from tenure.places p where p.name = n.name and p.ticket > 0 order by p.ticket limit 1)
        ) near join tenure.leases l on l.id = near.id
        where case l.mode when 2 then l.limits else 0 end <> case c.mode when 2 then c.limits else 0 end
        order by n.ord limit 1);
end $$;
