-- Fences in SQLite: a table of the greatest tokens seen, and a view that takes only who has that one or a greater.
-- Run once, with the migrations of the data that it guards, in the same file.
create table tenure_fence (
    resource text    primary key not null,
    token    integer not null check (typeof(token) = 'integer' and token > 0)
) without rowid;

-- Inserted into in the transaction that reads or writes the resource, before it does. Fails with the text STALE when a newer
-- holder was here, and rolls the transaction back.
create view tenure_fence_pass as select resource, token from tenure_fence;
create trigger tenure_fence_passes instead of insert on tenure_fence_pass begin
    select raise(rollback, 'STALE a newer holder was here') from tenure_fence
        where resource = new.resource and token > new.token;
    insert into tenure_fence values (new.resource, new.token)
        on conflict (resource) do update set token = excluded.token;
end;
