-- Who holds a name or waits for it.
-- ?1 name: text. Rows: leases.*
select leases.* from places join leases on leases.lease = places.lease where places.name = ?1
