#!/bin/sh
# Stop everything and delete it: containers, network, images, and the data.
set -eu
cd "$(dirname "$0")/.."
docker compose down --volumes --rmi local --remove-orphans
rm -r secrets
