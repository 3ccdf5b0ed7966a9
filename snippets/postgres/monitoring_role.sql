-- Let a role see every session's state and statement, and nothing of your data.
-- psql --set=role=monitor --file=monitoring_role.sql
grant pg_monitor to :"role";
