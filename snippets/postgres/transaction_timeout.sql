-- Let the server end any transaction of a role that takes too long, also one
-- that is never silent. New in PostgreSQL 17.
-- psql --set=role=upstream --file=transaction_timeout.sql
alter role :"role" set transaction_timeout = '5min';
