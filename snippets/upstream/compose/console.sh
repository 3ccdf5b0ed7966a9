#!/bin/sh
# Ask each PgBouncer's console, from PostgreSQL's container, which has psql:
# compose/console.sh 'show pools'
set -eu
cd "$(dirname "$0")/.."
# The first twelve characters of a container's ID are a name on its network.
for container in $(docker compose ps --quiet pgbouncer | cut -c 1-12); do
    docker compose exec -T postgres sh -c '
        PGPASSWORD=$(cat /run/secrets/console_stats_password)
        export PGPASSWORD
        psql --host="$0" --port=6432 --username=pgbouncer_stats \
            --dbname=pgbouncer --no-align --pset=footer=off --command="$1"
    ' "$container" "$1"
done
