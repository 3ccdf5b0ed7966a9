-- Give a role the setting that its connection string cannot carry.
-- psql --set=role=upstream --file=role_statement_timeout.sql
alter role :"role" set statement_timeout = '5s';
