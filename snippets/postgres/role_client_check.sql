-- In the role's new sessions, end a query whose client is gone.
-- psql --set=role=upstream --file=role_client_check.sql
alter role :"role" set client_connection_check_interval = '2s';
