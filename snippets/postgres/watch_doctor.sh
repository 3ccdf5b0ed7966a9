#!/bin/sh
# Look again and again, from one session: ./watch_doctor.sh, or every second
# with ./watch_doctor.sh 1. PGHOST and its like say where.
set -eu
{
    cat pool_doctor.sql
    echo "\\watch ${1:-5}"
} | psql --no-psqlrc
