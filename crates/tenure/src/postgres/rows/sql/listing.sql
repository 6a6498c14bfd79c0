-- Leases or waiters in the order of their digests. What has expired is left out.
--
-- $1 boolean: waiters instead of leases. $2 bytea: what one of their names begins with. $3 bytea or null: the digest to go
-- on after. $4 bigint: how many.
with here as materialized (
    select (extract(epoch from clock_timestamp()) * 1000)::bigint as at
), shown as (
    select substring(sha256(uuid_send(l.id)) for 8) as digest, coalesce(l.held, l.names) as has, l.*
    from tenure.leases l, here h
    where (l.ticket is not null) = $1 and (l.expires is null or l.expires > h.at)
)
select s.id, s.has as names, s.mode, s.take, s.limits, s.remote, s.ttl, s.meta, s.token, h.at - s.since as age,
    s.expires - h.at as left_ms,
    (select coalesce(max(q.before), 0)::integer from unnest(s.names) n(name) cross join lateral (
        select count(*) as before from tenure.places p where p.name = n.name and p.ticket > 0 and p.ticket < s.ticket) q) as ahead
from shown s, here h
where exists (select from unnest(s.has) n(name) where substring(n.name for octet_length($2)) = $2)
    and ($3 is null or s.digest > $3)
order by s.digest limit $4
