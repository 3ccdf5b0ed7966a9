#!/bin/sh
# Create the roles with compose.yaml's passwords. PostgreSQL's image runs this.
set -eu
secret() { cat "/run/secrets/$1"; }

UPSTREAM_OWNER_PASSWORD=$(secret upstream_owner_password)
UPSTREAM_PASSWORD=$(secret upstream_password)
UPSTREAM_MONITOR_PASSWORD=$(secret upstream_monitor_password)
CONSOLE_ADMIN_PASSWORD=$(secret console_admin_password)
CONSOLE_STATS_PASSWORD=$(secret console_stats_password)
PGPASSWORD=$(secret postgres_password)
export UPSTREAM_OWNER_PASSWORD UPSTREAM_PASSWORD UPSTREAM_MONITOR_PASSWORD
export CONSOLE_ADMIN_PASSWORD CONSOLE_STATS_PASSWORD PGPASSWORD

psql --no-psqlrc --quiet --username=postgres --file=/run/roles.sql
