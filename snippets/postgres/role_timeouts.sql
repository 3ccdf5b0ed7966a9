-- Let the server end what an application forgets, in the role's new sessions.
-- psql --set=role=upstream --file=role_timeouts.sql
alter role :"role" set idle_in_transaction_session_timeout = '60s';
-- Ends a lock or a LISTEN as well, unless that session sets it to 0 first.
alter role :"role" set idle_session_timeout = '1h';
