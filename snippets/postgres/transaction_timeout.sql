-- Let the server end any of a role's transactions that takes too long, even
-- one that is never idle. New in PostgreSQL 17.
-- psql --set=role=upstream --file=transaction_timeout.sql
alter role :"role" set transaction_timeout = '5min';
