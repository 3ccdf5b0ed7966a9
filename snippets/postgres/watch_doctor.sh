#!/bin/sh
# Run the pool doctor every 5 seconds, in one session: ./watch_doctor.sh, or
# every second: ./watch_doctor.sh 1. PGHOST and the like say where.
set -eu
{
    cat pool_doctor.sql
    echo "\\watch ${1:-5}"
} | psql --no-psqlrc
