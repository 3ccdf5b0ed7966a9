#!/bin/sh
# Build the images, start everything, and wait until all of it is healthy.
set -eu
cd "$(dirname "$0")/.."
./compose/secrets.sh
docker compose build --quiet > /dev/null
docker compose up --detach --wait
docker compose ps --format '{{.Service}}: {{.Status}}'
