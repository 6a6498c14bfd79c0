-- Rides in SQLite. Run at each start: what is there stays. Degrees are in 1e-8, money and ratings in hundredths, moments in ms since 1970.
create table if not exists city (
    id text not null
) strict;
insert into city select lower(hex(randomblob(16))) where not exists (select 1 from city);

create table if not exists riders (
    id         integer primary key autoincrement,
    name       text    not null,
    phone      text    not null unique,
    email      text,
    rating     integer not null,
    created_at integer not null
) strict;

-- cell: the H3 cell of resolution 9, null while nobody knows where the driver is.
create table if not exists drivers (
    id           integer primary key autoincrement,
    name         text    not null,
    phone        text    not null unique,
    email        text,
    lat          integer,
    lng          integer,
    cell         integer,
    status       text    not null check (status in ('offline', 'online', 'busy')),
    vehicle_type text    not null,
    rating       integer not null,
    total_rides  integer not null,
    created_at   integer not null,
    updated_at   integer not null,
    version      integer not null,
    fence        integer not null
) strict;
create index if not exists drivers_online on drivers (cell) where status = 'online';

create table if not exists bookings (
    id                  integer primary key autoincrement,
    rider_id            integer not null references riders (id),
    driver_id           integer references drivers (id),
    pickup_lat          integer not null,
    pickup_lng          integer not null,
    dropoff_lat         integer not null,
    dropoff_lng         integer not null,
    estimated_fare      integer not null,
    actual_fare         integer,
    vehicle_type        text    not null,
    status              text    not null check (status in ('pending', 'assigned', 'accepted', 'cancelled', 'completed')),
    cancellation_reason text,
    created_at          integer not null,
    assigned_at         integer,
    accepted_at         integer,
    cancelled_at        integer,
    completed_at        integer,
    fence               integer not null
) strict;
-- One driver, one ride, whatever a program does.
create unique index if not exists bookings_active on bookings (driver_id) where status in ('assigned', 'accepted');
create index if not exists bookings_rider on bookings (rider_id, id);
create index if not exists bookings_driver on bookings (driver_id, id);

create table if not exists idempotency (
    key     text    primary key not null,
    request text    not null,
    outcome text    not null,
    at      integer not null
) strict, without rowid;
create index if not exists idempotency_age on idempotency (at);
