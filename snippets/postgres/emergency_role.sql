-- Let a role log in when ordinary ones cannot, and see every session.
-- PostgreSQL 16 and later, with reserved_connections above 0.
-- psql --set=role=oncall --file=emergency_role.sql
grant pg_use_reserved_connections, pg_monitor to :"role" with inherit true;
-- And end sessions, but no superuser's. To look only, leave this out.
grant pg_signal_backend to :"role" with inherit true;
