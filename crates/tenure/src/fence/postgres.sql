-- Fences in PostgreSQL: a table of the greatest tokens seen, and a function that lets pass who has that one or a greater.
-- Run once, with the migrations of the data that it guards, in the same database.
create table tenure_fence (
    resource text   primary key,
    token    bigint not null check (token > 0)
) with (fillfactor = 50);

-- Called in the transaction that reads or writes the resource, before it does. Fails with SQLSTATE TN001 when a newer holder
-- was here, and with it the transaction. The row stays locked until the end: who comes with a newer token waits so long.
create function tenure_fence(resource text, token bigint) returns void language plpgsql as $$
declare
    seen bigint;
begin
    insert into tenure_fence as f values (tenure_fence.resource, tenure_fence.token)
    on conflict on constraint tenure_fence_pkey do update set token = excluded.token where f.token <= excluded.token;
    if not found then
        select f.token into seen from tenure_fence f where f.resource = tenure_fence.resource;
        raise exception 'STALE a newer holder was here fence=%', seen using errcode = 'TN001';
    end if;
end $$;
