-- Let PgBouncer look up one secret at a time, and nothing else. As a superuser:
-- psql --file=auth_query.sql
\set ON_ERROR_STOP on
\set VERBOSITY terse
\connect upstream
-- Keep passwords out of the log and out of pg_stat_statements.
set log_statement = 'none';
set log_min_duration_statement = -1;
set log_min_duration_sample = -1;
set log_transaction_sample_rate = 0;
set log_min_error_statement = 'panic';
set pg_stat_statements.track_utility = off;
-- The password comes from the environment, which psql reads here.
\set password `printf %s "$POOLER_PASSWORD"`
select '' = :'password' as missing
\gset
\if :missing
do $$ begin raise 'a password is missing: export POOLER_PASSWORD first'; end $$;
\endif
set password_encryption = 'scram-sha-256';
-- All or nothing, so that nobody can call the function before its grants.
begin;
-- PgBouncer's pool limits it: a lower limit here would fail bursts of logins.
create role pgbouncer login password :'password';
grant connect on database upstream to pgbouncer;

create schema pgbouncer;
-- region: function
-- Runs as its owner, who may read pg_authid: hence a search_path in which
-- nobody can shadow it. Returns no row for superusers, replication roles and
-- roles that cannot log in, nor for a password that is missing or has expired.
create function pgbouncer.get_auth(name text)
returns table (username text, secret text)
language sql stable security definer
set search_path = pg_catalog, pg_temp
as $$
    select rolname::text, rolpassword
    from pg_authid
    where
        rolname = name
        and rolpassword is not null
        and rolcanlogin
        and not rolsuper
        and not rolreplication
        and (rolvaliduntil is null or rolvaliduntil > now())
$$;
-- endregion: function
-- region: grants
-- Everybody may execute a new function, until that is revoked.
revoke all on function pgbouncer.get_auth(text) from public;
grant usage on schema pgbouncer to pgbouncer;
grant execute on function pgbouncer.get_auth(text) to pgbouncer;
-- endregion: grants
commit;
