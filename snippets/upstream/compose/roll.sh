#!/bin/sh
# Replace PgBouncer with what its folder now holds, while requests go on: the
# new one starts before the old one stops.
set -eu
cd "$(dirname "$0")/.."
old=$(docker compose ps --quiet pgbouncer)
image=$(docker inspect --format '{{.Image}}' "$old")

docker compose build --quiet pgbouncer > /dev/null
docker compose up --detach --wait --no-recreate --scale pgbouncer=2 pgbouncer

# SIGTERM, then a wait of stop_grace_period at most. New clients go to the new
# one, and Django's threads follow as their connections reach DB_CONN_MAX_AGE.
docker stop "$old" > /dev/null
docker inspect --format 'it ended with status {{.State.ExitCode}}' "$old"
docker rm "$old" > /dev/null

# The old image no longer has a name. If nothing was changed, the new container
# uses it too, and it stays.
docker image rm "$image" > /dev/null 2>&1 || true
