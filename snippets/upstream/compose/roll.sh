#!/bin/sh
# Replace PgBouncer by what its folder now holds, while requests go on: the new
# one starts first, and then the old one ends.
set -eu
cd "$(dirname "$0")/.."
old=$(docker compose ps --quiet pgbouncer)
image=$(docker inspect --format '{{.Image}}' "$old")

docker compose build --quiet pgbouncer > /dev/null
docker compose up --detach --wait --no-recreate --scale pgbouncer=2 pgbouncer

# SIGTERM, and at most stop_grace_period. New clients go to the new one, and
# Django's threads come to it as their connections reach DB_CONN_MAX_AGE.
docker stop "$old" > /dev/null
docker inspect --format 'it ended with status {{.State.ExitCode}}' "$old"
docker rm "$old" > /dev/null

# Its image has no name any more. Where nothing was changed it is the new one's
# as well, and stays.
docker image rm "$image" > /dev/null 2>&1 || true
