-- After a restart of the machine: its processes are gone, and with them their claims, except what has to linger.
-- No parameters.
update leases set ended = 1 where held = 1 and remote = 0 and linger > 0;
delete from places where lease in (select lease from leases where held = 0 or (remote = 0 and ended = 0));
delete from leases where held = 0 or (remote = 0 and ended = 0);
delete from seats;
