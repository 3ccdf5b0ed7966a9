-- Settings for a role's new sessions, instead of options in a connection.
-- psql --set=role=upstream --file=role_settings.sql
alter role :"role" set statement_timeout = '30s';
alter role :"role" set search_path = 'sales', 'public';
