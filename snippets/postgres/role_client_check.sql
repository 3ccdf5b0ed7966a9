-- End a query whose client is gone, in the role's new sessions.
-- psql --set=role=upstream --file=role_client_check.sql
alter role :"role" set client_connection_check_interval = '2s';
