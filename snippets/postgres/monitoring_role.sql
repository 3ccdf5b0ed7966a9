-- Let a role see every session's state and statement, but read no table.
-- It also sees the values in a statement.
-- psql --set=role=monitor --file=monitoring_role.sql
grant pg_monitor to :"role";
