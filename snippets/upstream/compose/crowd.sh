#!/bin/sh
# Send a crowd to PostgreSQL, crowd.sh DATABASE_DIRECT_URL, or to PgBouncer,
# crowd.sh DATABASE_URL. It starts in the application's container.
set -eu
cd "$(dirname "$0")/.."
docker compose exec -T web python - "$1" 120 < compose/crowd.py
