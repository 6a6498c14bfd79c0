-- The layout of a store, version 1. Run once, when the database is made.
--
-- Instants are nanoseconds of the clock that counts since the boot `meta.boot`; spans are nanoseconds.
-- The names of one claim are joined by line feeds, which no name contains.

-- The store itself: one row.
create table meta (
    one          integer primary key check (one = 1),
    boot         text    not null,           -- the boot whose clock the instants are of
    next_token   integer not null,           -- epoch << 32 | counter of the next token
    last_ticket  integer not null,           -- the ticket that was given last
    unsynced_ttl integer not null default 0, -- remote leases up to this ttl may be granted by commits that are not on the disk yet
    closed_until integer not null default 0  -- after a restart of the machine: no grants before this instant
) strict;

-- The processes that have the store open, or one provider of them. A number is never used twice.
create table seats (
    seat  integer primary key autoincrement,
    label text not null unique               -- what its files in seats/ are called
) strict;

-- Claims that are held or wait.
create table leases (
    lease    blob    primary key,            -- 16 bytes
    digest   blob    not null,               -- 8 bytes
    seat     integer not null,               -- whom to tell; for a local lease, whose end is its end
    names    text    not null,               -- all that were asked for
    kind     integer not null,               -- 0 exclusive, 1 shared, 2 permits
    take     integer not null,
    of       integer not null,
    picks    integer not null,               -- 0 all, else how many of the names
    ttl      integer not null,
    linger   integer not null,
    remote   integer not null,               -- 1: outlives its seat
    wanted   integer not null,               -- tokens asked for
    meta     text,                           -- lines of key, tab, value
    since    integer not null,
    held     integer not null,               -- 1 held, 0 waits; what follows is of one of them
    picked   text,
    token    integer,
    tokens   integer,
    expires  integer,
    revoked  integer,
    ended    integer,                        -- 1: given up, lingers
    ticket   integer,
    touched  integer,
    overtaken       integer,
    overtaken_since integer
) strict, without rowid;

-- Which leases stand at a name: the picked names of one that is held, all names of one that waits.
create table places (
    name  text not null,
    lease blob not null,
    primary key (name, lease)
) strict, without rowid;

-- Ids that ended, so that a late claim of one is never granted. In the order of `until`.
create table ended (
    seq   integer primary key,
    lease blob    not null unique,
    why   integer not null,
    until integer not null
) strict;
