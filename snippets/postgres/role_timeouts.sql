-- In the role's new sessions, let the server end what an application forgets.
-- psql --set=role=upstream --file=role_timeouts.sql
alter role :"role" set idle_in_transaction_session_timeout = '60s';
-- Also ends an idle session with a lock or LISTEN, unless it sets this to 0.
alter role :"role" set idle_session_timeout = '1h';
