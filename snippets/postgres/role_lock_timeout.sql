-- Let a migration give up the wait for a lock, so that nobody waits behind it.
-- psql --set=role=upstream_owner --file=role_lock_timeout.sql
alter role :"role" set lock_timeout = '2s';
