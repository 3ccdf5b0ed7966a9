#!/bin/sh
# Connect 120 clients to PostgreSQL, crowd.sh DATABASE_DIRECT_URL, or to
# PgBouncer, crowd.sh DATABASE_URL, from the application's container.
set -eu
cd "$(dirname "$0")/.."
docker compose exec -T web python - "$1" 120 < compose/crowd.py
