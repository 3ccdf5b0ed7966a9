#!/bin/sh
# Is PgBouncer running, and what did it log last?
set -eu
cd "$(dirname "$0")/.."
docker compose ps --all --format '{{.Service}}: {{.Status}}' pgbouncer
docker compose logs --no-log-prefix --tail=20 pgbouncer
