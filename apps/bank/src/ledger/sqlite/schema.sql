-- The books in SQLite. Run at each start: what is there stays.
create table if not exists account (
    book       text    not null,
    id         text    not null,
    owner      text,
    is_open    integer not null,
    balance    integer not null,
    version    integer not null,
    fence      integer not null,
    opened_at  integer not null,
    changed_at integer not null,
    primary key (book, id)
) strict, without rowid;

create table if not exists event (
    book      text    not null,
    id        text    not null,
    version   integer not null,
    kind      text    not null,
    change    integer not null,
    balance   integer not null,
    other     text,
    operation blob    not null,
    at        integer not null,
    primary key (book, id, version)
) strict, without rowid;

create table if not exists snapshot (
    book    text    not null,
    id      text    not null,
    version integer not null,
    balance integer not null,
    primary key (book, id, version)
) strict, without rowid;

-- state: 0 pending, 1 processed, 2 failed, 3 processing. Not due before due_at.
create table if not exists message (
    id         integer primary key autoincrement,
    account    text    not null,
    version    integer not null,
    operation  blob    not null,
    body       text    not null,
    state      integer not null default 0,
    attempts   integer not null default 0,
    error      text,
    due_at     integer not null default 0,
    ended_at   integer not null default 0,
    written_at integer not null
) strict;
create index if not exists message_open on message (id) where state in (0, 3);
create index if not exists message_line on message (account, id) where state in (0, 3);
create index if not exists message_processed on message (ended_at) where state = 1;
create index if not exists message_failed on message (id) where state = 2;

create table if not exists idempotency (
    key     text    primary key not null,
    request text    not null,
    outcome text    not null,
    at      integer not null
) strict, without rowid;
create index if not exists idempotency_age on idempotency (at);
