-- The books in PostgreSQL: made once, in one transaction, under a lock.

create table bank.account (
    book       text    not null,
    id         text    not null,
    owner      text,
    is_open    boolean not null,
    balance    bigint  not null,
    version    bigint  not null,
    fence      bigint  not null,
    opened_at  bigint  not null,
    changed_at bigint  not null,
    primary key (book, id)
) with (fillfactor = 70);

create table bank.event (
    book      text   not null,
    id        text   not null,
    version   bigint not null,
    kind      text   not null,
    change    bigint not null,
    balance   bigint not null,
    other     text,
    operation uuid   not null,
    at        bigint not null,
    primary key (book, id, version)
);

create table bank.snapshot (
    book    text   not null,
    id      text   not null,
    version bigint not null,
    balance bigint not null,
    primary key (book, id, version)
);

-- state: 0 pending, 1 processed, 2 failed, 3 processing. Not due before due_at.
create table bank.message (
    id         bigint generated always as identity primary key,
    account    text   not null,
    version    bigint not null,
    operation  uuid   not null,
    body       text   not null,
    state      bigint not null default 0,
    attempts   bigint not null default 0,
    error      text,
    due_at     bigint not null default 0,
    ended_at   bigint not null default 0,
    written_at bigint not null
) with (fillfactor = 70);
create index message_open on bank.message (id) where state in (0, 3);
create index message_line on bank.message (account, id) where state in (0, 3);
create index message_processed on bank.message (ended_at) where state = 1;
create index message_failed on bank.message (id) where state = 2;

create table bank.idempotency (
    key     text   primary key,
    request text   not null,
    outcome text   not null,
    at      bigint not null
);
create index idempotency_age on bank.idempotency (at);

-- body: the summary as JSON.
create table bank.summary (
    book    text   not null,
    id      text   not null,
    version bigint not null,
    body    text   not null,
    primary key (book, id)
) with (fillfactor = 70);
