#!/bin/sh
# How many clients are connected, how many of them wait, for how long, and how
# many connections to PostgreSQL serve them? One line per pool.
set -eu
"$(dirname "$0")/console.sh" 'show pools' | cut -d '|' -f 1-4,7,10,14
