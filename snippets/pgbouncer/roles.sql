-- Create the database, and roles with the privileges they need and no more.
-- As a superuser: psql --file=roles.sql
\set ON_ERROR_STOP on
\set VERBOSITY terse
-- Keep passwords out of the log and out of pg_stat_statements.
set log_statement = 'none';
set log_min_duration_statement = -1;
set log_min_duration_sample = -1;
set log_transaction_sample_rate = 0;
set log_min_error_statement = 'panic';
set pg_stat_statements.track_utility = off;
-- The passwords come from the environment, which psql reads here.
\set owner_password `printf %s "$UPSTREAM_OWNER_PASSWORD"`
\set password `printf %s "$UPSTREAM_PASSWORD"`
\set monitor_password `printf %s "$UPSTREAM_MONITOR_PASSWORD"`
\set admin_password `printf %s "$CONSOLE_ADMIN_PASSWORD"`
\set stats_password `printf %s "$CONSOLE_STATS_PASSWORD"`
select
    '' in (
        :'owner_password',
        :'password',
        :'monitor_password',
        :'admin_password',
        :'stats_password'
    ) as missing
\gset
\if :missing
do $$ begin raise 'a password is missing: export all five first'; end $$;
\endif
set password_encryption = 'scram-sha-256';

-- region: application
-- Migrations: owns the database and everything in it.
create role upstream_owner login password :'owner_password';
-- The application: reads and writes rows, but cannot change tables.
create role upstream login password :'password';
-- Monitoring: sees every session and its last statement, values included, but
-- cannot read tables.
create role upstream_monitor login password :'monitor_password' in role
pg_monitor;
-- endregion: application

-- region: console
-- For PgBouncer's console: they have passwords here, but cannot log in here.
create role pgbouncer_admin nologin password :'admin_password';
create role pgbouncer_stats nologin password :'stats_password';
-- endregion: console

-- region: privileges
create database upstream owner upstream_owner;
revoke all on database upstream from public;
grant connect on database upstream to upstream, upstream_monitor;

\connect upstream
revoke all on schema public from public;
grant create, usage on schema public to upstream_owner;
grant usage on schema public to upstream;
-- The application may use whatever the owner creates from now on.
alter default privileges for role upstream_owner in schema public
grant select, insert, update, delete on tables to upstream;
alter default privileges for role upstream_owner in schema public
grant usage on sequences to upstream;
-- endregion: privileges
