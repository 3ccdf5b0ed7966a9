-- A login that still gets in when ordinary roles are locked out, and sees every session. PostgreSQL 16 and later;
-- needs reserved_connections to be more than 0. psql --set=role=oncall --file=emergency_role.sql
grant pg_use_reserved_connections, pg_monitor to :"role";
