-- The lease table as rows. Run once, by the migration that adds the mode `rows`.
--
-- Instants are milliseconds since 1970 of the server's clock, spans are milliseconds. Names are bytes, compared byte for
-- byte whatever the encoding and the collation of the database.
-- Rows come and go with every lock, and stay few: they are vacuumed by their number and not by their share.

-- The store itself: one row, read by every step.
create table tenure.rows_state (
    one          boolean primary key default true check (one),
    unsynced_ttl integer not null default 0,  -- leases up to this ttl may be granted by commits that are not on the disk yet
    closed_until bigint  not null default 0   -- after a crash of the server: no grants before this instant
) with (fillfactor = 10);
insert into tenure.rows_state default values;

-- The start of the server that granted last. Unlogged on purpose: PostgreSQL empties it when it recovers from a crash, when
-- a standby is promoted and when a backup is restored, which are just the times when commits may be lost.
create unlogged table tenure.rows_run (started timestamptz not null);

-- A table without rows: who has it locked makes the next step. A lock of our own, where nobody else's can collide with it.
create table tenure.rows_order ();

-- Claims that are held or wait.
create table tenure.leases (
    id       uuid     not null,
    listener bigint   not null,  -- whom to tell; below zero: one that nothing can be pushed to
    names    bytea[]  not null,  -- all that were asked for, in order
    mode     smallint not null,  -- 0 exclusive, 1 shared, 2 permits
    take     integer  not null,
    limits   integer  not null,  -- how many permits there are
    pick     integer  not null,  -- 0 all, else how many of the names
    ttl      integer  not null,
    linger   integer  not null,
    remote   boolean  not null,
    wanted   integer  not null,  -- tokens asked for
    absorbs  boolean  not null,  -- whether its end has to be remembered: the claim may come once more
    meta     bytea,              -- lines: key, value, key, …
    since    bigint   not null,
    held     bytea[],            -- what it has; null: it waits. What follows is of one of the two.
    token    bigint,
    tokens   integer,
    expires  bigint,
    revoked  boolean  not null default false,
    given_up boolean  not null default false,
    ticket   bigint,
    touched  bigint,
    passed   integer  not null default 0,
    passed_since bigint,
    primary key (id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
        autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 10);

-- Which claims stand at a name: with ticket 0 who holds it, then who waits for it.
create table tenure.places (
    name   bytea    not null,
    ticket bigint   not null,
    id     uuid     not null,
    mode   smallint not null,
    take   integer  not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 10);
create index places_at on tenure.places (name, ticket);

-- Ids that ended and may be asked for again.
create table tenure.ended (
    id    uuid   not null primary key,
    why   "char" not null,        -- e expired, f forced, u otherwise
    how   smallint,               -- what was answered to who ended it: 1 released, 2 lingering, 3 withdrawn
    until bigint not null
) with (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
        autovacuum_analyze_scale_factor = 10);
create index ended_until on tenure.ended (until);

-- The key of a name for advisory locks: that of `tenure.key`, of a name as bytes.
create function tenure.rows_key(name bytea) returns bigint language sql immutable strict parallel safe as $$
    select ('x' || left(encode(sha256('tenure:'::bytea || name), 'hex'), 16))::bit(64)::bigint
$$;

-- The order of the waiting.
create sequence tenure.tickets;

-- What a step answers. Of each kind:
--   G granted or held: names (where they are not those asked for), token, tokens, left_ms, flags
--   Q waits: many (before it), left_ms (until the next expiry; below zero: none)
--   B busy: names (the first), holder, left_ms, meta, many (waiting)
--   N gone: why     E ended: how     F forced: how     X refused: why, names (the first)
create type tenure.answer as (
    kind    "char",
    names   bytea[],
    token   bigint,
    tokens  integer,
    left_ms bigint,
    flags   integer,   -- 1 contended, 2 asked back, 4 granted before
    many    integer,
    holder  uuid,
    meta    bytea,
    why     "char",
    how     smallint
);
