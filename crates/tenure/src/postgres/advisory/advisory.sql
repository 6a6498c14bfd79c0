-- The schema of the mode advisory, version 2.
select;
