-- Let a migration give up its wait for a lock: whoever reads waits behind it.
-- psql --set=role=upstream_owner --file=role_lock_timeout.sql
alter role :"role" set lock_timeout = '2s';
