-- Let a role see every session's state and statement, and read no table.
-- The values in a statement are seen with it.
-- psql --set=role=monitor --file=monitoring_role.sql
grant pg_monitor to :"role";
