-- Let a role in when ordinary ones are locked out, and see every session.
-- PostgreSQL 16 and later, with reserved_connections above 0.
-- psql --set=role=oncall --file=emergency_role.sql
grant pg_use_reserved_connections, pg_monitor to :"role";
-- And end sessions, but no superuser's. What only looks does without.
grant pg_signal_backend to :"role";
