-- Ends the session that it runs in where the server is a standby.
-- On one line and in quotes it is the connect_query of a PgBouncer's entry.
select pg_terminate_backend(pg_backend_pid())
where pg_is_in_recovery();
